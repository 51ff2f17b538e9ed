//! The sockets of `--admin` and `--health`, and their servers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::admin::{self, Admin};
use crate::args::RunArgs;
use crate::flags::OffOr;
use crate::listen_error::describe_flag;

/// The servers of the admin endpoints and of the health endpoints.
pub(crate) struct AdminServers {
    sockets: Vec<(Page, TcpListener)>,
    stop: CancellationToken,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Page {
    Admin,
    Health,
}

impl AdminServers {
    /// Binds the addresses of `args`. If the previous process passed a socket for one of these addresses,
    /// that socket is taken out of `inherited` instead.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub(crate) fn bind(args: &RunArgs, inherited: &mut Vec<OwnedFd>) -> Result<Self, Failure> {
        let mut sockets = Vec::new();
        let mut open = |flag, page, address| {
            let socket = take(inherited, address).map_or_else(|| bind(address), Ok);
            let socket = socket.map_err(|error| describe_flag(flag, address, &error))?;
            sockets.push((page, socket));
            Ok::<_, Failure>(())
        };
        if let OffOr::On(address) = args.admin {
            open("--admin", Page::Admin, address)?;
        }
        if let Some(address) = args.health {
            open("--health", Page::Health, address)?;
        }
        Ok(Self {
            sockets,
            stop: CancellationToken::new(),
        })
    }

    /// Starts the servers on the current runtime.
    ///
    /// # Errors
    /// If the process has no free file descriptor.
    pub(crate) fn serve(&self, admin: &Arc<Admin>) -> io::Result<()> {
        for (page, socket) in &self.sockets {
            let listener = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
            let (admin, stop) = (Arc::clone(admin), self.stop.clone());
            match page {
                Page::Admin => admin::serve(listener, admin, stop)?,
                Page::Health => admin::serve_health(listener, admin, stop)?,
            }
        }
        Ok(())
    }

    /// Duplicates of the sockets, for the next process.
    ///
    /// # Errors
    /// If the process has no free file descriptor.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.sockets.iter();
        sockets
            .map(|(_, socket)| socket.try_clone().map(Into::into))
            .collect()
    }

    /// Stops accepting connections, because the next process accepts them, and closes idle connections.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the socket that listens on `address` out of `inherited`.
fn take(inherited: &mut Vec<OwnedFd>, address: SocketAddr) -> Option<TcpListener> {
    let is_on = |socket: &OwnedFd| {
        let duplicate = socket.try_clone().ok().map(TcpListener::from);
        duplicate.and_then(|socket| socket.local_addr().ok()) == Some(address)
    };
    let at = inherited.iter().position(is_on)?;
    Some(inherited.swap_remove(at).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_an_address_is_taken_once() {
        let first = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let second = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = second.local_addr().expect("an address");
        let mut inherited = vec![first.into(), second.into()];

        let taken = take(&mut inherited, address).expect("a socket");

        assert_eq!(taken.local_addr().expect("an address"), address);
        assert_eq!(inherited.len(), 1);
        assert!(take(&mut inherited, address).is_none());
    }
}
