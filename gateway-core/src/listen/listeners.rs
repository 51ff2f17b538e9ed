//! TCP listening sockets, reconciled with the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

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
    drain: Drain,
}

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
            drain: workers.drain().clone(),
        }
    }

    /// Opens sockets for new addresses, then closes the sockets of removed addresses and drains their
    /// connections. Sockets of unchanged addresses stay open and use the given configuration cell from
    /// the next connection on.
    ///
    /// # Errors
    ///
    /// The addresses that could not be bound; all sockets are unchanged then.
    pub fn reconcile(&mut self, ports: &[WantedPort]) -> Result<(), Vec<BindError>> {
        let wanted: BTreeMap<SocketAddr, &Arc<ArcSwap<PortConfig>>> = ports
            .iter()
            .flat_map(|(addresses, config)| {
                let port = config.load().port;
                addresses
                    .iter()
                    .map(move |ip| (SocketAddr::new(*ip, port), config))
            })
            .collect();
        let new = self.bind_new(wanted.keys())?;

        for (address, sockets) in new {
            let config = wanted[&address].clone();
            self.open(address, sockets, config);
        }
        for (address, config) in &wanted {
            let source = &self.open[address].source;
            if !Arc::ptr_eq(&*source.load(), config) {
                source.store((*config).clone());
            }
        }
        self.open.retain(|address, port| {
            let keep = wanted.contains_key(address);
            if !keep {
                port.drain.start();
            }
            keep
        });
        Ok(())
    }

    /// The bound addresses.
    pub fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.open.values().map(|port| port.bound).collect()
    }

    fn bind_new<'a>(
        &self,
        wanted: impl Iterator<Item = &'a SocketAddr>,
    ) -> Result<Vec<(SocketAddr, Vec<std::net::TcpListener>)>, Vec<BindError>> {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for &address in wanted.filter(|address| !self.open.contains_key(address)) {
            match bind_all(address, self.workers.len()) {
                Ok(sockets) => bound.push((address, sockets)),
                Err(source) => errors.push(BindError { address, source }),
            }
        }
        if errors.is_empty() {
            Ok(bound)
        } else {
            Err(errors)
        }
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
        self.open.insert(address, port);
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listeners").field(&self.addresses()).finish()
    }
}
