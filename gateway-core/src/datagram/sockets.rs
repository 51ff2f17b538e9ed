//! The open sockets, kept in step with the plan.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::socket::bind;
use super::{Assignment, DatagramConfig};
use crate::conn::BindError;
use crate::conn::workers::{Order, Workers};

/// Addresses to listen on, and what their sockets need to know.
pub(crate) type Wanted = BTreeMap<SocketAddr, Arc<DatagramConfig>>;

/// The open sockets of all workers.
pub(crate) struct Sockets {
    inboxes: Vec<mpsc::UnboundedSender<Order>>,
    open: BTreeMap<SocketAddr, Open>,
}

/// What belongs to one wanted address.
struct Open {
    /// The address that was bound; differs from the wanted one if that had port 0.
    bound: SocketAddr,
    config: Arc<ArcSwap<DatagramConfig>>,
    stop: CancellationToken,
}

/// Sockets that nobody serves yet.
pub(crate) struct Bound(Vec<(SocketAddr, Vec<UdpSocket>)>);

impl Sockets {
    /// Without sockets yet; `workers` serve them.
    pub(crate) fn new(workers: &Workers) -> Self {
        Self {
            inboxes: workers.inboxes(),
            open: BTreeMap::new(),
        }
    }

    /// Binds what is wanted and not open.
    ///
    /// # Errors
    /// The addresses that could not be bound. Nothing has changed then.
    pub(crate) fn bind_new(&self, wanted: &Wanted) -> Result<Bound, Vec<BindError>> {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for &address in wanted.keys().filter(|at| !self.open.contains_key(at)) {
            match bind_all(address, self.inboxes.len()) {
                Ok(sockets) => bound.push((address, sockets)),
                Err(source) => errors.push(BindError { address, source }),
            }
        }
        match errors.is_empty() {
            true => Ok(Bound(bound)),
            false => Err(errors),
        }
    }

    /// Serves what was bound, then lets go what is not wanted any more. What stays keeps its sessions, and
    /// new ones find the given configuration.
    pub(crate) fn install(&mut self, Bound(new): Bound, wanted: &Wanted) {
        for (address, sockets) in new {
            if let Some(config) = wanted.get(&address) {
                self.open(address, sockets, config);
            }
        }
        self.open.retain(|address, open| match wanted.get(address) {
            Some(config) => {
                open.config.store(config.clone());
                true
            }
            None => {
                open.stop.cancel();
                false
            }
        });
    }

    /// The addresses that are bound.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.open.values().map(|open| open.bound).collect()
    }

    fn open(&mut self, address: SocketAddr, sockets: Vec<UdpSocket>, config: &Arc<DatagramConfig>) {
        let first = sockets.first().and_then(|first| first.local_addr().ok());
        let open = Open {
            bound: first.unwrap_or(address),
            config: Arc::new(ArcSwap::new(config.clone())),
            stop: CancellationToken::new(),
        };
        for (inbox, socket) in self.inboxes.iter().zip(sockets) {
            let assignment = Assignment {
                socket,
                config: open.config.clone(),
                stop: open.stop.clone(),
            };
            if inbox.send(Order::ServeDatagrams(assignment)).is_err() {
                tracing::error!(%address, "a worker thread has ended");
            }
        }
        self.open.insert(address, open);
    }
}

/// Opens one socket per worker. Port 0 becomes a free one, the same for all.
fn bind_all(mut address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = bind(address)?;
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}
