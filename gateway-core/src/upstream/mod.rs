//! Connections to endpoints: from a head and a body that are ready to be sent to a response.
//!
//! ```text
//! request::prepare ──> Pool::checkout ──> Http1::exchange ──> hop_by_hop::response ──> ResponseBody
//!                        idle or new       or Http2                                     gives it back
//! ```
//!
//! An HTTP/1 connection is driven by the task that uses it, together with the response's head and body:
//! no task and no channel between tasks for a request. A body that has ended gives the connection back.
//! A connection that serves an upgrade, or that still sends the request while the response comes, gets
//! a task of its own. HTTP/2 connections are shared and have a task each.
//!
//! HTTP/1.1 is spoken by our own codec; by hyper where names keep their case, which only hyper knows, and
//! where the protocol may be switched. HTTP/2 is hyper's.
//!
//! Each worker has idle connections of its own. Rules that want the same [`Transport`] share a [`Pool`]:
//!
//! ```
//! use std::sync::Arc;
//!
//! use towergate_core::plan::{Backend, BackendId, BackendProtocol, Traffic};
//! use towergate_core::snapshot::Live;
//! use towergate_core::upstream::{Pool, Transport};
//!
//! let backend = Backend {
//!     id: BackendId {
//!         kind: "Service".to_owned(),
//!         namespace: "default".to_owned(),
//!         name: "web".to_owned(),
//!         port: 80,
//!     },
//!     protocol: BackendProtocol::Http1,
//!     tls: None,
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
mod cased;
mod checkout;
mod codec;
mod connect;
mod failure;
mod http1;
mod http2;
mod idle;
mod pool;
mod probe;
mod relay;
mod request;
mod stream;
mod upload;

pub use body::ResponseBody;
pub use pool::{Pool, Transport};

pub(crate) use body::{Counted, Expired};
pub(crate) use checkout::{Checkout, Sent};
pub(crate) use connect::Connected;
pub(crate) use failure::ClientBody;
pub(crate) use http1::{Open, Unanswered};
pub(crate) use pool::Target;
pub(crate) use probe::{Verdict, probe};
pub(crate) use request::{Wire, prepare};
pub(crate) use upload::{Progress, Source, Upload};

/// Takes a request out of its place.
pub(crate) fn take(request: &mut http::Request<Upload>) -> http::Request<Upload> {
    std::mem::replace(request, http::Request::new(Upload::empty()))
}
