//! UDP sockets, reconciled with the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::Type;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bound_addresses::BoundAddresses;
use super::listeners::BindError;
use super::workers::{WorkerCommand, Workers};
use crate::datagram::{DatagramAssignment, DatagramConfig, bind};

/// Desired addresses, with the configuration of their sockets.
pub(crate) type WantedSockets = BTreeMap<SocketAddr, Arc<DatagramConfig>>;

/// The UDP sockets of all workers.
pub(crate) struct DatagramSockets {
    workers: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    open: BTreeMap<SocketAddr, OpenAddress>,
    bound: BoundAddresses,
}

/// An address with open sockets.
struct OpenAddress {
    /// Bound address; differs from the desired one if that had port 0.
    bound: SocketAddr,
    config: Arc<ArcSwap<DatagramConfig>>,
    stop: CancellationToken,
}

/// Bound sockets that no worker serves yet.
pub(crate) struct BoundSockets(Vec<(SocketAddr, Vec<UdpSocket>)>);

impl DatagramSockets {
    /// No sockets yet. `workers` will serve them. With `reuse_port`, addresses are shared with other processes.
    pub(crate) fn new(workers: &Workers, reuse_port: bool) -> Self {
        Self {
            workers: workers.senders(),
            open: BTreeMap::new(),
            bound: BoundAddresses::new(reuse_port),
        }
    }

    /// Binds sockets for new addresses. Returns the sockets and the addresses that cannot be bound.
    pub(crate) fn bind_new(&self, wanted: &WantedSockets) -> (BoundSockets, Vec<BindError>) {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for &address in wanted.keys().filter(|at| !self.open.contains_key(at)) {
            let claimed = self.bound.claim(address, Type::DGRAM);
            match claimed.and_then(|()| bind_all(address, self.workers.len())) {
                Ok(sockets) => bound.push((address, sockets)),
                Err(source) => errors.push(BindError { address, source }),
            }
        }
        (BoundSockets(bound), errors)
    }

    /// Serves the bound sockets, then closes the sockets of removed addresses. Sockets of unchanged
    /// addresses keep their sessions; new sessions use the given configuration.
    pub(crate) fn install(&mut self, BoundSockets(new): BoundSockets, wanted: &WantedSockets) {
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

    /// The bound addresses.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.open.values().map(|open| open.bound).collect()
    }

    fn open(&mut self, address: SocketAddr, sockets: Vec<UdpSocket>, config: &Arc<DatagramConfig>) {
        let first = sockets.first().and_then(|first| first.local_addr().ok());
        let open = OpenAddress {
            bound: first.unwrap_or(address),
            config: Arc::new(ArcSwap::new(config.clone())),
            stop: CancellationToken::new(),
        };
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let assignment = DatagramAssignment {
                socket,
                config: open.config.clone(),
                stop: open.stop.clone(),
            };
            if worker.send(WorkerCommand::ServeUdp(assignment)).is_err() {
                tracing::error!(%address, "worker thread has exited; its socket is not served");
            }
        }
        self.bound.insert(open.bound);
        self.open.insert(address, open);
    }
}

/// Opens one socket per worker, all on the same port. Port 0 selects a free port.
fn bind_all(mut address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = bind(address)?;
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}
