//! Datagrams: UDPRoute.
//!
//! ```text
//! Sockets ──one per worker──> serve ── new client ──> Forwarder::choose ──> Session ──> endpoint
//!  reconcile                    │  known client ─────────────────────────────┘ │
//! client <── from where it sent to ── replies <────────────────────────────────┘
//! ```
//!
//! A session belongs to one client: an address and a port, and the address of ours that it sends to. It has
//! a socket of its own towards its endpoint, by which answers are told apart, and lives on the worker to
//! which the system gives its client's datagrams. It keeps its endpoint when the configuration changes, and
//! ends when nothing was said for a while, or when its endpoint is gone.
//!
//! Anybody can invent clients. So sessions are bounded, by number and by what the process may open; over
//! the bound the one of the same port that was silent longest makes room (`room.rs`). Nothing is ever queued: what cannot be sent at
//! once is dropped, and counted.

mod room;
mod serve;
mod session;
mod socket;
mod sockets;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use serve::serve;
pub(crate) use sockets::{Sockets, Wanted};

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::plan::ListenerId;
use crate::stream::StreamTarget;

/// What a socket needs to know; read for each new session.
#[derive(Clone, Debug)]
pub(crate) struct DatagramConfig {
    /// The port of the plan.
    pub(crate) port: u16,
    pub(crate) listener: Arc<ListenerId>,
    /// How long a session may be silent.
    pub(crate) idle_timeout: Duration,
    /// The route that has everything; `None`: datagrams are dropped.
    pub(crate) target: Option<StreamTarget>,
}

/// A socket for a worker to serve.
pub(crate) struct Assignment {
    pub(crate) socket: std::net::UdpSocket,
    pub(crate) config: Arc<ArcSwap<DatagramConfig>>,
    /// Ends it, with its sessions.
    pub(crate) stop: CancellationToken,
}
