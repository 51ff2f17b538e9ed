//! Connections to endpoints: from a prepared request to a response.
//!
//! ```text
//! request::prepare ──> Pool::checkout ──> Checkout::send ──> hop_by_hop::response ──> BackendBody
//!                        idle or new       HTTP/1, HTTP/2                               returns the connection
//! ```
//!
//! The task that uses an HTTP/1 connection also drives it while it reads the response head and body, so a
//! request needs neither a separate task nor a channel. At the end of the body, the connection returns to the
//! pool. A separate task drives a connection that serves an upgrade, or that still sends the request while
//! the response is read. HTTP/2 connections are shared, and a separate task drives each of them.
//!
//! HTTP/1.1 uses the codec of this module, or hyper if header names must keep their case or the protocol may
//! be switched. HTTP/2 uses hyper.
//!
//! Each worker has its own idle connections. Rules with equal [`Transport`]s share a [`Pool`]:
//!
//! ```
//! use std::sync::Arc;
//!
//! use towergate_core::plan::{Backend, BackendId, BackendProtocol, Traffic};
//! use towergate_core::policy::Live;
//! use towergate_core::upstream::{Pool, Transport};
//!
//! let backend = Backend {
//!     id: BackendId::service("default", "web", 80),
//!     protocol: BackendProtocol::Http1,
//!     tls: None,
//!     hosts: Vec::new(),
//!     fallback: false,
//!     dynamic: None,
//! };
//! let live = Live::default();
//! let provider = towergate_tls::default_provider();
//! let transport = Transport::new(&backend, &Traffic::default());
//!
//! let one = Pool::shared(&live, transport.clone(), &provider);
//! let other = Pool::shared(&live, transport, &provider);
//!
//! assert!(Arc::ptr_eq(&one, &other));
//! ```

mod body;
mod checkout;
mod codec;
mod connect;
mod connection_guard;
mod detached;
mod failure;
mod http1;
mod http2;
mod hyper_connection;
mod idle;
mod io;
mod pool;
mod preamble;
mod probe;
mod replay;
mod request;
mod socket;
mod transport;
mod upload;

pub use body::BackendBody;
pub use pool::Pool;
pub use transport::Transport;

pub(crate) use body::{BackendReset, RequestPermits, TunnelConnection};
pub(crate) use checkout::{Checkout, UpstreamResponse};
pub(crate) use connect::EndpointStream;
pub(crate) use connection_guard::UpstreamConnectionGuard;
pub(crate) use failure::{ClientBodyError, SendFailure};
pub(crate) use io::UpstreamIo;
pub(crate) use pool::ConnectTarget;
pub(crate) use probe::{ProbeResult, probe};
pub(crate) use replay::{REPLAY_BUFFER, Replay};
pub(crate) use request::{WireFormat, prepare};
pub(crate) use upload::{Upload, UploadProgress, UploadSource};

/// Entry points for fuzz targets and property tests. Not part of the public API.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::codec::fuzzing::{DecodedResponse, decode_response};
}

/// Moves the request out and leaves an empty one.
pub(crate) fn take_request(request: &mut http::Request<Upload>) -> http::Request<Upload> {
    std::mem::replace(request, http::Request::new(Upload::empty()))
}
