//! Events of the data plane, from which metrics are computed.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use towergate_core::gateway::{Gateway, Options};
//! use towergate_core::observer::{Event, Observer};
//!
//! /// Counts connections.
//! #[derive(Default)]
//! struct Connections(AtomicU64);
//!
//! impl Observer for Connections {
//!     fn observe(&self, event: &Event<'_>) {
//!         if let Event::ConnectionOpened(_) = event {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let connections = Arc::new(Connections::default());
//! let gateway = Gateway::new(Options::default().observer(connections.clone()));
//! # drop(gateway);
//! # connections.observe(&Event::ConnectionOpened(80));
//! # assert_eq!(connections.0.load(Ordering::Relaxed), 1);
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use crate::access_log::Entry;
use crate::plan::{BackendId, ListenerId};

/// Receives [`Event`]s. It is called on the worker on which the event occurs, and must neither block nor lock
/// shared state.
pub trait Observer: Send + Sync + 'static {
    /// Receives an event.
    fn observe(&self, event: &Event<'_>);
}

/// An observer that ignores all events.
impl Observer for () {
    fn observe(&self, _event: &Event<'_>) {}
}

/// An event of the data plane. Port numbers are those of the listener ports in the plan.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client connection was accepted on this port.
    ConnectionOpened(u16),
    /// A client connection on this port ended.
    ConnectionClosed(u16),
    /// A client connection was rejected, because the connection limit of the listener is reached.
    ConnectionRefused(u16),
    /// A client connection was closed, because its PROXY header is missing or invalid. Contains the reason.
    ProxyRejected(u16, &'static str),
    /// A connection from this address began with a PROXY header on a port without PROXY protocol.
    UnexpectedProxyHeader(u16, SocketAddr),
    /// A TLS handshake succeeded. Contains port, listener, TLS version, and whether a session was resumed.
    TlsHandshake(u16, &'a ListenerId, &'static str, bool),
    /// A TLS handshake failed. Contains the reason.
    TlsFailed(u16, &'static str),
    /// A client sent invalid HTTP. Contains the reason.
    CodecError(u16, &'static str),
    /// A connection was closed because of abuse. Contains the kind of abuse.
    Abuse(u16, &'static str),
    /// A request has completed, or the client has disconnected.
    Request(&'a ListenerId, &'a Entry),
    /// A proxied TCP connection or a datagram session ended, or could not reach a backend. The kind of the
    /// route in the entry distinguishes TCP, TLS and UDP.
    Stream(&'a ListenerId, &'a Entry),
    /// A datagram session started on this port.
    SessionOpened(u16),
    /// A datagram session on this port ended.
    SessionClosed(u16),
    /// A datagram was dropped on this port. Contains the reason.
    DatagramDropped(u16, &'static str),
    /// A connection to an endpoint was opened. Contains the time that opening the connection took.
    UpstreamConnected(&'a BackendId, Duration),
    /// Opening a connection to an endpoint failed.
    UpstreamConnectFailed(&'a BackendId),
    /// A connection to an endpoint ended.
    UpstreamClosed(&'a BackendId),
    /// A request was retried.
    Retried(&'a BackendId),
    /// A mirror responded to a copy of a request.
    Mirrored(&'a BackendId),
    /// A copy of a request failed, for example because the mirror was unreachable or too slow.
    MirrorFailed(&'a BackendId),
    /// A limit of the circuit breaker was reached.
    Overflowed(&'a BackendId),
}
