//! UDP proxying: UDPRoute.
//!
//! ```text
//! socket of a worker ──> serve ── new client ────> Forwarder::choose ──> DatagramSession ──> endpoint
//!                          │  known client ────────────────────────────────┘ │
//! client <── same local address ── replies <─────────────────────────────────┘
//! ```
//!
//! A session belongs to one client: its address and port, and the local address that it sends to. A
//! separate socket to the endpoint assigns replies to the session. It stays on the worker to which
//! the system dispatches the client's datagrams. It keeps its endpoint across configuration
//! changes, and ends at the idle timeout or when its endpoint is removed.
//!
//! UDP source addresses can be forged, so sessions are limited by number and by file descriptors. At the
//! limit, the least recently used session of the same socket is evicted (`quota.rs`). Nothing is queued:
//! a datagram that cannot be sent at once is dropped and counted.

mod quota;
mod serve;
mod session;
mod socket;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use serve::serve;
pub(crate) use socket::bind;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::plan::ListenerId;
use crate::stream::StreamTarget;

/// Configuration of a UDP socket. Read for each new session.
#[derive(Clone, Debug)]
pub(crate) struct DatagramConfig {
    /// Port number in the plan.
    pub(crate) port: u16,
    /// Listener, for logs.
    pub(crate) listener: Arc<ListenerId>,
    /// Idle timeout of a session.
    pub(crate) idle_timeout: Duration,
    /// Route of all datagrams; `None`: they are dropped.
    pub(crate) target: Option<StreamTarget>,
}

/// A UDP socket, assigned to a worker.
pub(crate) struct DatagramAssignment {
    pub(crate) socket: std::net::UdpSocket,
    pub(crate) config: Arc<ArcSwap<DatagramConfig>>,
    /// Closes the socket and its sessions.
    pub(crate) stop: CancellationToken,
}
