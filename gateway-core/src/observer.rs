//! What happens in the data plane, told as it happens: the source of metrics.
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

/// Takes [`Event`]s, on the worker where they happen: it must neither wait nor take a shared lock.
pub trait Observer: Send + Sync + 'static {
    /// Takes one event.
    fn observe(&self, event: &Event<'_>);
}

/// An observer that looks away.
impl Observer for () {
    fn observe(&self, _event: &Event<'_>) {}
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was accepted on this port of the plan.
    ConnectionOpened(u16),
    /// It ended.
    ConnectionClosed(u16),
    /// It was refused: the listener's limit is reached.
    ConnectionRefused(u16),
    /// It was closed for want of a valid PROXY header; the word says why.
    ProxyRejected(u16, &'static str),
    /// A PROXY header arrived on a port that expects none.
    UnexpectedProxyHeader(u16, SocketAddr),
    /// A TLS handshake succeeded on this port, for this listener: version, and whether a session was
    /// resumed.
    TlsHandshake(u16, &'a ListenerId, &'static str, bool),
    /// A TLS handshake failed; the word says why.
    TlsFailed(u16, &'static str),
    /// Bytes that are no HTTP.
    CodecError(u16, &'static str),
    /// An HTTP/2 client was cut off for abuse; the word says which.
    Abuse(u16, &'static str),
    /// A response ended, or the client left.
    Request(&'a ListenerId, &'a Entry),
    /// A connection that was passed on as bytes ended, or one that came to no backend; or a session of
    /// datagrams. The route in the entry says which.
    Stream(&'a ListenerId, &'a Entry),
    /// A session of datagrams began on this port of the plan.
    SessionOpened(u16),
    /// It ended.
    SessionClosed(u16),
    /// A datagram came on this port and was dropped; the word says why.
    DatagramDropped(u16, &'static str),
    /// A connection to an endpoint was opened, in this time.
    UpstreamConnected(&'a BackendId, Duration),
    /// A connection to an endpoint could not be opened.
    UpstreamConnectFailed(&'a BackendId),
    /// A connection to an endpoint ended.
    UpstreamClosed(&'a BackendId),
    /// A request was sent once more.
    Retried(&'a BackendId),
    /// A copy of a request was answered by the backend of a mirror.
    Mirrored(&'a BackendId),
    /// A copy of a request was given up: no answer, or the mirror fell behind.
    MirrorFailed(&'a BackendId),
    /// A limit of the circuit breaker was reached.
    Overflowed(&'a BackendId),
}
