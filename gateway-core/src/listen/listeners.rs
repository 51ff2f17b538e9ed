//! TCP listening sockets, which are opened and closed according to the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::Type;
use tokio::sync::mpsc;

use super::bound_addresses::BoundAddresses;
use super::config::PortConfig;
use super::inherited_sockets::InheritedSockets;
use super::listener::ConfigSource;
use super::workers::{TcpAssignment, WorkerCommand, Workers};
use crate::conn::Drain;
use crate::conn::socket::bind_all;

/// Desired state of a port: its addresses, and the cell that contains its configuration.
pub type WantedPort = (Vec<IpAddr>, Arc<ArcSwap<PortConfig>>);

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

/// The TCP listening sockets of all workers.
pub struct Listeners {
    workers: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    open: BTreeMap<SocketAddr, OpenPort>,
    bound: BoundAddresses,
    inherited: InheritedSockets,
    /// Whether [`OpenPort::duplicates`] are created.
    keeps_duplicates: bool,
    drain: Drain,
}

/// Bound sockets that no worker serves yet.
pub(crate) struct BoundListeners(Vec<(SocketAddr, Vec<TcpListener>)>);

/// An address with open sockets.
struct OpenPort {
    /// Bound address. It differs from the desired address if that has port 0.
    bound: SocketAddr,
    source: ConfigSource,
    drain: Drain,
    /// Duplicates of the sockets, for the next process.
    duplicates: Vec<OwnedFd>,
}

impl Listeners {
    /// Creates an instance without sockets. `workers` will serve the sockets.
    pub fn new(workers: &Workers) -> Self {
        Self {
            workers: workers.senders(),
            open: BTreeMap::new(),
            bound: BoundAddresses::default(),
            inherited: InheritedSockets::default(),
            keeps_duplicates: false,
            drain: workers.drain().clone(),
        }
    }

    /// Sets whether addresses may be shared with other processes that set `SO_REUSEPORT`. Default: false; an
    /// address on which another process listens cannot be bound.
    #[must_use]
    pub fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.bound = BoundAddresses::new(reuse_port);
        self
    }

    /// Sets whether duplicates of all sockets are created, for [`Self::duplicates`]. Default: false.
    #[must_use]
    pub(crate) fn keep_duplicates(mut self, keep: bool) -> Self {
        self.keeps_duplicates = keep;
        self
    }

    /// Adds a listening socket of another process. It is used if the next plan contains `address`.
    pub(crate) fn inherit(&mut self, address: SocketAddr, socket: OwnedFd) {
        // Recorded as bound, because the other process still listens on it: this address and those that
        // overlap it must not be checked.
        self.bound.insert(address);
        self.inherited.insert(address, socket);
    }

    /// Duplicates of all listening sockets. Empty unless [`Self::keep_duplicates`] is set.
    ///
    /// # Errors
    ///
    /// The errors of dup(2), for example if the limit of file descriptors is reached.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.open.values().flat_map(|port| &port.duplicates);
        sockets.map(OwnedFd::try_clone).collect()
    }

    /// Closes the duplicates. While a duplicate is open, the system establishes connections, even if no
    /// worker accepts them.
    pub(crate) fn close_duplicates(&mut self) {
        self.open
            .values_mut()
            .for_each(|port| port.duplicates.clear());
    }

    /// Opens sockets for new addresses, then closes the sockets of removed addresses and drains their
    /// connections. Sockets of unchanged addresses stay open. They use the new configuration cell from the
    /// next connection on.
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
    pub(crate) fn bind_new(&self, ports: &[WantedPort]) -> (BoundListeners, Vec<BindError>) {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for &address in by_address(ports).keys() {
            if self.open.contains_key(&address) {
                continue;
            }
            match self.bind(address) {
                Ok(sockets) => bound.push((address, sockets)),
                Err(source) => errors.push(BindError { address, source }),
            }
        }
        (BoundListeners(bound), errors)
    }

    /// Returns at least one socket for each worker: first the sockets of the previous process, then new ones.
    fn bind(&self, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
        let inherited = self.inherited.duplicates(address)?;
        if inherited.is_empty() {
            self.bound.claim(address, Type::STREAM)?;
        }
        let mut sockets: Vec<TcpListener> = inherited.into_iter().map(Into::into).collect();
        let missing = self.workers.len().saturating_sub(sockets.len());
        sockets.extend(bind_all(address, missing)?);
        Ok(sockets)
    }

    /// Starts to serve the bound sockets, then closes the sockets of removed addresses. Sockets of unchanged
    /// addresses use the new configuration cell from the next connection on.
    pub(crate) fn install(&mut self, BoundListeners(new): BoundListeners, ports: &[WantedPort]) {
        let wanted = by_address(ports);
        for (address, sockets) in new {
            if let Some(config) = wanted.get(&address) {
                self.open(address, sockets, (*config).clone());
            }
        }
        self.inherited = InheritedSockets::default();
        self.open.retain(|address, port| {
            let Some(config) = wanted.get(address) else {
                port.drain.start();
                return false;
            };
            if !Arc::ptr_eq(&*port.source.load(), config) {
                port.source.store((*config).clone());
            }
            true
        });
    }

    /// The bound addresses.
    pub fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.open.values().map(|port| port.bound).collect()
    }

    fn open(
        &mut self,
        address: SocketAddr,
        sockets: Vec<TcpListener>,
        config: Arc<ArcSwap<PortConfig>>,
    ) {
        let port = OpenPort {
            bound: sockets
                .first()
                .and_then(|socket| socket.local_addr().ok())
                .unwrap_or(address),
            source: Arc::new(ArcSwap::new(config)),
            drain: self.drain.child(),
            duplicates: match self.keeps_duplicates {
                true => duplicate_all(&sockets, address),
                false => Vec::new(),
            },
        };
        // There may be more sockets than workers, if the previous process had more workers.
        for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
            let assignment = TcpAssignment {
                socket,
                source: port.source.clone(),
                drain: port.drain.clone(),
                accepting: port.drain.token(),
            };
            if worker.send(WorkerCommand::ServeTcp(assignment)).is_err() {
                tracing::error!(%address, "worker thread has exited; its socket is not served");
            }
        }
        self.bound.insert(port.bound);
        self.open.insert(address, port);
    }
}

/// Duplicates the sockets of an address. If one duplication fails, returns no duplicates, because the next
/// process must serve all accept queues of an address or none.
pub(super) fn duplicate_all<S: AsFd>(sockets: &[S], address: SocketAddr) -> Vec<OwnedFd> {
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

/// The configuration cell of each address. If several ports have the same address, it is bound once.
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
