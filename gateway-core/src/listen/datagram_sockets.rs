//! UDP sockets, which are opened and closed according to the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::Type;
use tokio_util::sync::CancellationToken;

use super::socket_table::{BindError, BoundSockets, SocketTable};
use super::workers::{WorkerCommand, Workers};
use crate::datagram::{DatagramAssignment, DatagramConfig, bind};

/// Desired addresses, with the configuration of their sockets.
pub(crate) type WantedSockets = BTreeMap<SocketAddr, Arc<DatagramConfig>>;

/// The UDP sockets of all workers.
pub(crate) struct DatagramSockets {
    sockets: SocketTable<ServedDatagrams>,
}

/// Configuration of an open address, and the token that ends its service.
struct ServedDatagrams {
    config: Arc<ArcSwap<DatagramConfig>>,
    stop: CancellationToken,
}

impl DatagramSockets {
    /// Creates an instance without sockets. `workers` will serve the sockets. If `reuse_port` is set,
    /// addresses may be shared with other processes.
    pub(crate) fn new(workers: &Workers, reuse_port: bool) -> Self {
        let mut sockets = SocketTable::new(workers, Type::DGRAM);
        sockets.set_reuse_port(reuse_port);
        Self { sockets }
    }

    /// Sets whether duplicates of all sockets are created, for [`Self::duplicates`]. Default: false.
    pub(crate) fn keep_duplicates(mut self, keep: bool) -> Self {
        self.sockets.set_keep_duplicates(keep);
        self
    }

    /// Adds a socket of another process. The socket is used if the next plan contains `address`.
    pub(crate) fn inherit(&mut self, address: SocketAddr, socket: OwnedFd) {
        self.sockets.inherit(address, socket);
    }

    /// Duplicates of all sockets. Empty unless [`Self::keep_duplicates`] is set.
    ///
    /// # Errors
    ///
    /// The errors of dup(2), for example if the limit of file descriptors is reached.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.duplicates()
    }

    /// Closes the duplicates.
    pub(crate) fn close_duplicates(&mut self) {
        self.sockets.close_duplicates();
    }

    /// Stops serving all sockets, and ends their sessions.
    pub(crate) fn stop_all(&self) {
        self.sockets
            .states()
            .for_each(|served| served.stop.cancel());
    }

    /// Binds sockets for new addresses. Returns the sockets and the addresses that cannot be bound.
    pub(crate) fn bind_new(
        &self,
        wanted: &WantedSockets,
    ) -> (BoundSockets<UdpSocket>, Vec<BindError>) {
        self.sockets.bind_new(wanted.keys().copied(), bind)
    }

    /// Starts to serve the bound sockets, then closes the sockets of removed addresses. Sockets of unchanged
    /// addresses keep their sessions, and use the new configuration for new sessions.
    pub(crate) fn install(
        &mut self,
        BoundSockets(new): BoundSockets<UdpSocket>,
        wanted: &WantedSockets,
    ) {
        for (address, sockets) in new {
            if let Some(config) = wanted.get(&address) {
                let served = ServedDatagrams {
                    config: Arc::new(ArcSwap::new(config.clone())),
                    stop: CancellationToken::new(),
                };
                self.sockets
                    .open(address, sockets, served, ServedDatagrams::assign);
            }
        }
        self.sockets
            .retain(|address, served| match wanted.get(address) {
                Some(config) => {
                    served.config.store(config.clone());
                    true
                }
                None => {
                    served.stop.cancel();
                    false
                }
            });
    }

    /// The bound addresses.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.sockets.addresses()
    }
}

impl ServedDatagrams {
    fn assign(socket: UdpSocket, served: &Self) -> WorkerCommand {
        WorkerCommand::ServeUdp(DatagramAssignment {
            socket,
            config: served.config.clone(),
            stop: served.stop.clone(),
        })
    }
}
