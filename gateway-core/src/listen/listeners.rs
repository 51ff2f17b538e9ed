//! TCP listening sockets, reconciled with the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::Type;
use tokio::sync::mpsc;

use super::bound_addresses::BoundAddresses;
use super::config::PortConfig;
use super::listener::ConfigSource;
use super::workers::{TcpAssignment, WorkerCommand, Workers};
use crate::conn::Drain;
use crate::conn::socket::bind_all;

/// Desired state of a port: its addresses, and the cell with its configuration.
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
    drain: Drain,
}

/// Bound sockets that no worker serves yet.
pub(crate) struct BoundListeners(Vec<(SocketAddr, Vec<std::net::TcpListener>)>);

/// An address with open sockets.
struct OpenPort {
    /// Bound address; differs from the desired one if that had port 0.
    bound: SocketAddr,
    source: ConfigSource,
    drain: Drain,
}

impl Listeners {
    /// No sockets yet. `workers` will serve them.
    pub fn new(workers: &Workers) -> Self {
        Self {
            workers: workers.senders(),
            open: BTreeMap::new(),
            bound: BoundAddresses::default(),
            drain: workers.drain().clone(),
        }
    }

    /// Shares addresses with other processes that set `SO_REUSEPORT`, for a restart without a gap. Default: an
    /// address on which another process listens cannot be bound.
    #[must_use]
    pub fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.bound = BoundAddresses::new(reuse_port);
        self
    }

    /// Opens sockets for new addresses, then closes the sockets of removed addresses and drains their
    /// connections. Sockets of unchanged addresses stay open and use the given configuration cell from
    /// the next connection on.
    ///
    /// # Errors
    ///
    /// The addresses that could not be bound; all sockets are unchanged then.
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
            let claimed = self.bound.claim(address, Type::STREAM);
            match claimed.and_then(|()| bind_all(address, self.workers.len())) {
                Ok(sockets) => bound.push((address, sockets)),
                Err(source) => errors.push(BindError { address, source }),
            }
        }
        (BoundListeners(bound), errors)
    }

    /// Serves the bound sockets, then closes the sockets of removed addresses. Sockets of unchanged addresses use the
    /// given configuration cell from the next connection on.
    pub(crate) fn install(&mut self, BoundListeners(new): BoundListeners, ports: &[WantedPort]) {
        let wanted = by_address(ports);
        for (address, sockets) in new {
            if let Some(config) = wanted.get(&address) {
                self.open(address, sockets, (*config).clone());
            }
        }
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
        sockets: Vec<std::net::TcpListener>,
        config: Arc<ArcSwap<PortConfig>>,
    ) {
        let port = OpenPort {
            bound: sockets
                .first()
                .and_then(|socket| socket.local_addr().ok())
                .unwrap_or(address),
            source: Arc::new(ArcSwap::new(config)),
            drain: self.drain.child(),
        };
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let assignment = TcpAssignment {
                socket,
                source: port.source.clone(),
                drain: port.drain.clone(),
            };
            if worker.send(WorkerCommand::ServeTcp(assignment)).is_err() {
                tracing::error!(%address, "worker thread has exited; its socket is not served");
            }
        }
        self.bound.insert(port.bound);
        self.open.insert(address, port);
    }
}

/// The configuration cell of each address. An address of several ports is bound once.
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
