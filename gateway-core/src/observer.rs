//! Events of the data plane: the source of metrics.
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

/// Receives [`Event`]s on the worker where they occur. Must neither block nor take a shared lock.
pub trait Observer: Send + Sync + 'static {
    /// Receives an event.
    fn observe(&self, event: &Event<'_>);
}

/// An observer that ignores all events.
impl Observer for () {
    fn observe(&self, _event: &Event<'_>) {}
}

/// An event of the data plane. Ports are listener ports of the plan.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client connection was accepted on this port.
    ConnectionOpened(u16),
    /// A client connection on this port ended.
    ConnectionClosed(u16),
    /// A client connection was rejected: the limit of the listener is reached.
    ConnectionRefused(u16),
    /// A client connection was closed because its PROXY header is missing or invalid, with the reason.
    ProxyRejected(u16, &'static str),
    /// A PROXY header arrived on a port without PROXY protocol, from this address.
    UnexpectedProxyHeader(u16, SocketAddr),
    /// A TLS handshake succeeded: port, listener, TLS version, whether a session was resumed.
    TlsHandshake(u16, &'a ListenerId, &'static str, bool),
    /// A TLS handshake failed, with the reason.
    TlsFailed(u16, &'static str),
    /// A client sent invalid HTTP, with the reason.
    CodecError(u16, &'static str),
    /// An HTTP/2 connection was closed because of abuse, with the kind of abuse.
    Abuse(u16, &'static str),
    /// A request completed, or the client disconnected.
    Request(&'a ListenerId, &'a Entry),
    /// A proxied TCP connection or a datagram session ended, or no backend was reached. The route in the
    /// entry identifies the kind.
    Stream(&'a ListenerId, &'a Entry),
    /// A datagram session started on this port.
    SessionOpened(u16),
    /// A datagram session on this port ended.
    SessionClosed(u16),
    /// A datagram was dropped on this port, with the reason.
    DatagramDropped(u16, &'static str),
    /// A connection to an endpoint was opened within this duration.
    UpstreamConnected(&'a BackendId, Duration),
    /// A connection to an endpoint failed to open.
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
