//! The open sockets, kept in step with the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::PortConfig;
use super::drain::Drain;
use super::listener::Source;
use super::socket::bind_all;
use super::workers::{Assignment, Order, Workers};

/// A port as the plan wants it: its addresses, and where its configuration is found.
pub type WantedPort = (Vec<IpAddr>, Arc<ArcSwap<PortConfig>>);

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The open sockets of all workers.
pub struct Listeners {
    inboxes: Vec<mpsc::UnboundedSender<Order>>,
    open: BTreeMap<SocketAddr, OpenPort>,
    drain: Drain,
}

/// What belongs to one wanted address.
struct OpenPort {
    /// The address that was bound; differs from the wanted one if that had port 0.
    bound: SocketAddr,
    source: Source,
    drain: Drain,
}

impl Listeners {
    /// Without sockets yet; `workers` serve them.
    pub fn new(workers: &Workers) -> Self {
        Self {
            inboxes: workers.inboxes(),
            open: BTreeMap::new(),
            drain: workers.drain().clone(),
        }
    }

    /// Opens what is wanted and not open, then lets go what is open and not wanted: its
    /// connections drain. What is both stays as it is, and finds its configuration in the given
    /// place from the next connection on.
    ///
    /// # Errors
    ///
    /// The addresses that could not be bound. Nothing has changed then.
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

    /// The addresses that are bound.
    pub fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.open.values().map(|port| port.bound).collect()
    }

    fn bind_new<'a>(
        &self,
        wanted: impl Iterator<Item = &'a SocketAddr>,
    ) -> Result<Vec<(SocketAddr, Vec<std::net::TcpListener>)>, Vec<BindError>> {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for &address in wanted.filter(|address| !self.open.contains_key(address)) {
            match bind_all(address, self.inboxes.len()) {
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
        for (inbox, socket) in self.inboxes.iter().zip(sockets) {
            let assignment = Assignment {
                socket,
                source: port.source.clone(),
                drain: port.drain.clone(),
            };
            if inbox.send(Order::Serve(assignment)).is_err() {
                tracing::error!(%address, "a worker thread has ended");
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
