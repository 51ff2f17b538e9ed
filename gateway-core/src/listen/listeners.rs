//! TCP listening sockets, which are opened and closed according to the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::Type;

use super::config::PortConfig;
use super::listener::ConfigSource;
use super::socket_table::{BindError, BoundSockets, SocketTable};
use super::workers::{TcpAssignment, WorkerCommand, Workers};
use crate::conn::Drain;
use crate::conn::socket;

/// Desired state of a port: its addresses, and the cell that contains its configuration.
pub type WantedPort = (Vec<IpAddr>, Arc<ArcSwap<PortConfig>>);

/// The TCP listening sockets of all workers.
pub struct Listeners {
    sockets: SocketTable<ServedAddress>,
    drain: Drain,
}

/// Configuration of an open address, and the drain of its connections.
struct ServedAddress {
    source: ConfigSource,
    drain: Drain,
}

impl Listeners {
    /// Creates an instance without sockets. `workers` will serve the sockets.
    pub fn new(workers: &Workers) -> Self {
        Self {
            sockets: SocketTable::new(workers, Type::STREAM),
            drain: workers.drain().clone(),
        }
    }

    /// Sets whether addresses may be shared with other processes that set `SO_REUSEPORT`. Default: false; an
    /// address on which another process listens cannot be bound.
    #[must_use]
    pub fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.sockets.set_reuse_port(reuse_port);
        self
    }

    /// Sets whether duplicates of all sockets are created, for [`Self::duplicates`]. Default: false.
    #[must_use]
    pub(crate) fn keep_duplicates(mut self, keep: bool) -> Self {
        self.sockets.set_keep_duplicates(keep);
        self
    }

    /// Adds a listening socket of another process. The socket is used if the next plan contains `address`.
    pub(crate) fn inherit(&mut self, address: SocketAddr, socket: OwnedFd) {
        self.sockets.inherit(address, socket);
    }

    /// Duplicates of all listening sockets. Empty unless [`Self::keep_duplicates`] is set.
    ///
    /// # Errors
    ///
    /// The errors of dup(2), for example if the limit of file descriptors is reached.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.duplicates()
    }

    /// Closes the duplicates. While a duplicate is open, the system establishes connections, even if no
    /// worker accepts them.
    pub(crate) fn close_duplicates(&mut self) {
        self.sockets.close_duplicates();
    }

    /// Opens sockets for new addresses, then closes the sockets of removed addresses and drains their
    /// connections. Sockets of unchanged addresses stay open. From the next connection on, these sockets use
    /// the new configuration cell.
    ///
    /// # Errors
    ///
    /// The addresses that could not be bound. In that case all sockets are unchanged.
    pub fn reconcile(&mut self, ports: &[WantedPort]) -> Result<(), Vec<BindError>> {
        let (bound, errors) = self.bind_new(ports);
        if !errors.is_empty() {
            return Err(errors);
        }
        self.install(bound, ports);
        Ok(())
    }

    /// Binds sockets for new addresses. Returns the sockets and the addresses that cannot be bound.
    pub(crate) fn bind_new(
        &self,
        ports: &[WantedPort],
    ) -> (BoundSockets<TcpListener>, Vec<BindError>) {
        let wanted = by_address(ports);
        self.sockets.bind_new(wanted.keys().copied(), socket::bind)
    }

    /// Starts to serve the bound sockets, then closes the sockets of removed addresses. Sockets of unchanged
    /// addresses use the new configuration cell from the next connection on.
    pub(crate) fn install(
        &mut self,
        BoundSockets(new): BoundSockets<TcpListener>,
        ports: &[WantedPort],
    ) {
        let wanted = by_address(ports);
        for (address, sockets) in new {
            if let Some(config) = wanted.get(&address) {
                let served = ServedAddress {
                    source: Arc::new(ArcSwap::new((*config).clone())),
                    drain: self.drain.child(),
                };
                self.sockets
                    .open(address, sockets, served, ServedAddress::assign);
            }
        }
        self.sockets.retain(|address, served| {
            let Some(config) = wanted.get(address) else {
                served.drain.start();
                return false;
            };
            if !Arc::ptr_eq(&*served.source.load(), config) {
                served.source.store((*config).clone());
            }
            true
        });
    }

    /// The bound addresses.
    pub fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.sockets.addresses()
    }
}

impl ServedAddress {
    fn assign(socket: TcpListener, served: &Self) -> WorkerCommand {
        WorkerCommand::ServeTcp(TcpAssignment {
            socket,
            source: served.source.clone(),
            drain: served.drain.clone(),
            accepting: served.drain.token(),
        })
    }
}

/// The configuration cell of each address. If several ports have the same address, the address is bound once.
fn by_address(ports: &[WantedPort]) -> BTreeMap<SocketAddr, &Arc<ArcSwap<PortConfig>>> {
    let each = ports.iter().flat_map(|(addresses, config)| {
        let port = config.load().port;
        let addresses = addresses.iter();
        addresses.map(move |ip| (SocketAddr::new(*ip, port), config))
    });
    each.collect()
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listeners").field(&self.addresses()).finish()
    }
}
