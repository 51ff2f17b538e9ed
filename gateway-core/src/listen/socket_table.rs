//! The open sockets of one transport, with their addresses as keys. Each worker has one socket per address.
//!
//! [`Listeners`](super::Listeners) (TCP) and [`DatagramSockets`](super::DatagramSockets) (UDP) each have a
//! table, which they adapt to the plan. All new addresses are bound before any of them is served. Therefore a
//! plan with an address that cannot be bound can be rejected before any socket has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{SockRef, Type};
use tokio::sync::mpsc;

use super::bound_addresses::BoundAddresses;
use super::inherited_sockets::InheritedSockets;
use super::workers::{WorkerCommand, Workers};

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Cause.
    #[source]
    pub source: io::Error,
}

/// Sockets that have been bound, by address. No worker serves them yet.
pub(crate) struct BoundSockets<T>(pub(super) Vec<(SocketAddr, Vec<T>)>);

/// Open sockets. The key is the desired address. Each address has a state of the type `S`.
pub(super) struct SocketTable<S> {
    transport: Type,
    workers: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    open: BTreeMap<SocketAddr, OpenAddress<S>>,
    bound: BoundAddresses,
    inherited: InheritedSockets,
    /// Whether [`OpenAddress::duplicates`] are created.
    keeps_duplicates: bool,
}

/// An address with open sockets.
struct OpenAddress<S> {
    /// Bound address. It differs from the desired address if the desired port is 0.
    bound: SocketAddr,
    state: S,
    /// A second descriptor of each socket, to be passed to the process that replaces this one.
    duplicates: Vec<OwnedFd>,
}

impl<S> SocketTable<S> {
    /// Creates a table without sockets. `workers` will serve the sockets.
    pub(super) fn new(workers: &Workers, transport: Type) -> Self {
        Self {
            transport,
            workers: workers.senders(),
            open: BTreeMap::new(),
            bound: BoundAddresses::default(),
            inherited: InheritedSockets::default(),
            keeps_duplicates: false,
        }
    }

    /// Sets whether addresses may be shared with other processes that set `SO_REUSEPORT`. Must be called
    /// before addresses are bound.
    pub(super) fn set_reuse_port(&mut self, reuse_port: bool) {
        self.bound = BoundAddresses::new(reuse_port);
    }

    /// Sets whether duplicates of all sockets are created, for [`Self::duplicates`].
    pub(super) fn set_keep_duplicates(&mut self, keep: bool) {
        self.keeps_duplicates = keep;
    }

    /// Adds a socket of another process. The socket is used if the next plan contains `address`.
    pub(super) fn inherit(&mut self, address: SocketAddr, socket: OwnedFd) {
        // The address is recorded as bound, so that it is not checked by binding it: the other process has
        // bound it, so the check would fail.
        self.bound.insert(address);
        self.inherited.insert(address, socket);
    }

    /// Duplicates of all sockets. Empty unless [`Self::set_keep_duplicates`] is set.
    ///
    /// # Errors
    ///
    /// The errors of dup(2), for example if the limit of file descriptors is reached.
    pub(super) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.open.values().flat_map(|open| &open.duplicates);
        sockets.map(OwnedFd::try_clone).collect()
    }

    /// Closes the duplicates.
    pub(super) fn close_duplicates(&mut self) {
        self.open
            .values_mut()
            .for_each(|open| open.duplicates.clear());
    }

    /// The bound addresses.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.open.values().map(|open| open.bound).collect()
    }

    /// The states of all addresses.
    pub(super) fn states(&self) -> impl Iterator<Item = &S> {
        self.open.values().map(|open| &open.state)
    }

    /// Binds sockets for the addresses that are not open yet. `bind` opens one socket. Returns the sockets,
    /// and the addresses that cannot be bound.
    pub(super) fn bind_new<T: AsFd + From<OwnedFd>>(
        &self,
        wanted: impl Iterator<Item = SocketAddr>,
        bind: fn(SocketAddr) -> io::Result<T>,
    ) -> (BoundSockets<T>, Vec<BindError>) {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for address in wanted.filter(|address| !self.open.contains_key(address)) {
            match self.bind_address(address, bind) {
                Ok(sockets) => bound.push((address, sockets)),
                Err(source) => errors.push(BindError { address, source }),
            }
        }
        (BoundSockets(bound), errors)
    }

    /// Returns at least one socket for each worker: first the sockets of the previous process, then new ones.
    fn bind_address<T: AsFd + From<OwnedFd>>(
        &self,
        address: SocketAddr,
        bind: fn(SocketAddr) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let inherited = self.inherited.duplicates(address)?;
        if inherited.is_empty() {
            self.bound.claim(address, self.transport)?;
        }
        let mut sockets: Vec<T> = inherited.into_iter().map(Into::into).collect();
        let missing = self.workers.len().saturating_sub(sockets.len());
        sockets.extend(bind_all(address, missing, bind)?);
        Ok(sockets)
    }

    /// Assigns the sockets of `address` to the workers. `assign` creates the command to a worker for each
    /// socket.
    pub(super) fn open<T: AsFd>(
        &mut self,
        address: SocketAddr,
        sockets: Vec<T>,
        state: S,
        assign: impl Fn(T, &S) -> WorkerCommand,
    ) {
        let first = sockets.first().and_then(local_address);
        let duplicates = match self.keeps_duplicates {
            true => duplicate_all(&sockets, address),
            false => Vec::new(),
        };
        // There may be more sockets than workers, if the previous process had more workers.
        for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
            if worker.send(assign(socket, &state)).is_err() {
                tracing::error!(%address, "worker thread has exited; its socket is not served");
            }
        }
        let open = OpenAddress {
            bound: first.unwrap_or(address),
            state,
            duplicates,
        };
        self.bound.insert(open.bound);
        self.open.insert(address, open);
    }

    /// Removes the addresses for which `keep` returns false. `keep` must end the service of an address before
    /// it returns false. Also closes inherited sockets that were not used.
    pub(super) fn retain(&mut self, keep: impl Fn(&SocketAddr, &S) -> bool) {
        self.inherited = InheritedSockets::default();
        self.open.retain(|address, open| keep(address, &open.state));
    }
}

/// Opens `count` sockets on the same port. If the port is 0, the system selects a free port.
fn bind_all<T: AsFd>(
    mut address: SocketAddr,
    count: usize,
    bind: fn(SocketAddr) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = bind(address)?;
        address = local_address(&socket).unwrap_or(address);
        sockets.push(socket);
    }
    Ok(sockets)
}

fn local_address(socket: &impl AsFd) -> Option<SocketAddr> {
    SockRef::from(socket).local_addr().ok()?.as_socket()
}

/// Duplicates the sockets of an address. If one duplication fails, returns no duplicates, because the next
/// process must serve either all accept queues of an address or none of them.
fn duplicate_all<T: AsFd>(sockets: &[T], address: SocketAddr) -> Vec<OwnedFd> {
    let duplicates = sockets
        .iter()
        .map(|socket| socket.as_fd().try_clone_to_owned());
    duplicates
        .collect::<io::Result<_>>()
        .unwrap_or_else(|error| {
            tracing::warn!(%address, %error, "the sockets cannot be kept for the next process");
            Vec::new()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conn, datagram};

    #[test]
    fn all_sockets_of_an_address_have_the_same_port() {
        let any_port = "[::1]:0".parse().unwrap();

        let listeners = bind_all(any_port, 3, conn::socket::bind).unwrap();
        let datagrams = bind_all(any_port, 3, datagram::bind).unwrap();

        let ports: BTreeSet<_> = listeners.iter().map(local_address).collect();
        assert_eq!((listeners.len(), ports.len()), (3, 1));
        let ports: BTreeSet<_> = datagrams.iter().map(local_address).collect();
        assert_eq!((datagrams.len(), ports.len()), (3, 1));
    }
}
