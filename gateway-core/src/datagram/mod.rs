//! UDP proxying: UDPRoute.
//!
//! ```text
//! socket of a worker ──> serve ── new client ────> Forwarder::choose ──> DatagramSession ──> endpoint
//!                          │  known client ────────────────────────────────┘ │
//! client <── same local address ── replies <─────────────────────────────────┘
//! ```
//!
//! A session belongs to one client. The client is identified by its address and port, and by the local
//! address to which it sends. Each session has its own socket to the endpoint, so that each reply can be
//! assigned to its session. The session stays on the worker to which the system dispatches the client's
//! datagrams. It keeps its endpoint across configuration changes. It ends at the idle timeout, or when its
//! endpoint is removed.
//!
//! UDP source addresses can be forged, so the number of sessions is limited, both per socket and by the
//! number of file descriptors (`quota.rs`). When a limit is reached, the least recently used session of the
//! same socket is evicted. Datagrams are not queued: a datagram that cannot be sent at once is dropped and
//! counted.

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

/// Configuration of a UDP socket. It is read for each new session.
#[derive(Clone, Debug)]
pub(crate) struct DatagramConfig {
    /// Port number in the plan.
    pub(crate) port: u16,
    /// Listener, for the access log.
    pub(crate) listener: Arc<ListenerId>,
    /// Idle timeout of a session.
    pub(crate) idle_timeout: Duration,
    /// Route of all datagrams. `None`: the datagrams are dropped.
    pub(crate) target: Option<StreamTarget>,
}

/// A UDP socket that a worker must serve, with its configuration.
pub(crate) struct DatagramAssignment {
    pub(crate) socket: std::net::UdpSocket,
    pub(crate) config: Arc<ArcSwap<DatagramConfig>>,
    /// Token whose cancellation closes the socket and its sessions.
    pub(crate) stop: CancellationToken,
}
