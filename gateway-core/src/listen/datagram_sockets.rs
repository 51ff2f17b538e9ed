//! UDP sockets, which are opened and closed according to the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::Type;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bound_addresses::BoundAddresses;
use super::inherited_sockets::InheritedSockets;
use super::listeners::{BindError, duplicate_all};
use super::workers::{WorkerCommand, Workers};
use crate::datagram::{DatagramAssignment, DatagramConfig, bind};

/// Desired addresses, with the configuration of their sockets.
pub(crate) type WantedSockets = BTreeMap<SocketAddr, Arc<DatagramConfig>>;

/// The UDP sockets of all workers.
pub(crate) struct DatagramSockets {
    workers: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    open: BTreeMap<SocketAddr, OpenAddress>,
    bound: BoundAddresses,
    inherited: InheritedSockets,
    /// Whether [`OpenAddress::duplicates`] are created.
    keeps_duplicates: bool,
}

/// An address with open sockets.
struct OpenAddress {
    /// Bound address. It differs from the desired address if that has port 0.
    bound: SocketAddr,
    config: Arc<ArcSwap<DatagramConfig>>,
    stop: CancellationToken,
    /// Duplicates of the sockets, for the next process.
    duplicates: Vec<OwnedFd>,
}

/// Bound sockets that no worker serves yet.
pub(crate) struct BoundSockets(Vec<(SocketAddr, Vec<UdpSocket>)>);

impl DatagramSockets {
    /// Creates an instance without sockets. `workers` will serve the sockets. If `reuse_port` is set,
    /// addresses may be shared with other processes.
    pub(crate) fn new(workers: &Workers, reuse_port: bool) -> Self {
        Self {
            workers: workers.senders(),
            open: BTreeMap::new(),
            bound: BoundAddresses::new(reuse_port),
            inherited: InheritedSockets::default(),
            keeps_duplicates: false,
        }
    }

    /// Sets whether duplicates of all sockets are created, for [`Self::duplicates`]. Default: false.
    pub(crate) fn keep_duplicates(mut self, keep: bool) -> Self {
        self.keeps_duplicates = keep;
        self
    }

    /// Adds a socket of another process. It is used if the next plan contains `address`.
    pub(crate) fn inherit(&mut self, address: SocketAddr, socket: OwnedFd) {
        self.bound.insert(address);
        self.inherited.insert(address, socket);
    }

    /// Duplicates of all sockets. Empty unless [`Self::keep_duplicates`] is set.
    ///
    /// # Errors
    ///
    /// The errors of dup(2), for example if the limit of file descriptors is reached.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.open.values().flat_map(|open| &open.duplicates);
        sockets.map(OwnedFd::try_clone).collect()
    }

    /// Closes the duplicates.
    pub(crate) fn close_duplicates(&mut self) {
        self.open
            .values_mut()
            .for_each(|open| open.duplicates.clear());
    }

    /// Stops serving all sockets, and ends their sessions.
    pub(crate) fn stop_all(&self) {
        for open in self.open.values() {
            open.stop.cancel();
        }
    }

    /// Binds sockets for new addresses. Returns the sockets and the addresses that cannot be bound.
    pub(crate) fn bind_new(&self, wanted: &WantedSockets) -> (BoundSockets, Vec<BindError>) {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for &address in wanted.keys().filter(|at| !self.open.contains_key(at)) {
            match self.bind(address) {
                Ok(sockets) => bound.push((address, sockets)),
                Err(source) => errors.push(BindError { address, source }),
            }
        }
        (BoundSockets(bound), errors)
    }

    /// Returns at least one socket for each worker: first the sockets of the previous process, then new ones.
    fn bind(&self, address: SocketAddr) -> io::Result<Vec<UdpSocket>> {
        let inherited = self.inherited.duplicates(address)?;
        if inherited.is_empty() {
            self.bound.claim(address, Type::DGRAM)?;
        }
        let mut sockets: Vec<UdpSocket> = inherited.into_iter().map(Into::into).collect();
        let missing = self.workers.len().saturating_sub(sockets.len());
        sockets.extend(bind_all(address, missing)?);
        Ok(sockets)
    }

    /// Starts to serve the bound sockets, then closes the sockets of removed addresses. Sockets of unchanged
    /// addresses keep their sessions, and use the new configuration for new sessions.
    pub(crate) fn install(&mut self, BoundSockets(new): BoundSockets, wanted: &WantedSockets) {
        for (address, sockets) in new {
            if let Some(config) = wanted.get(&address) {
                self.open(address, sockets, config);
            }
        }
        self.inherited = InheritedSockets::default();
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
            duplicates: match self.keeps_duplicates {
                true => duplicate_all(&sockets, address),
                false => Vec::new(),
            },
        };
        // There may be more sockets than workers, if the previous process had more workers.
        for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
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

/// Opens one socket per worker, all on the same port. If the port is 0, the system selects a free port.
fn bind_all(mut address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = bind(address)?;
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}
