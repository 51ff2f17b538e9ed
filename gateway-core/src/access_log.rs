//! What happened to a request, told once its response has ended; or to a connection that was passed on as
//! bytes, or to a session of datagrams, once it has.
//!
//! ```
//! use std::sync::Arc;
//!
//! use towergate_core::access_log::{AccessLog, Entry};
//! use towergate_core::gateway::{Gateway, Options};
//!
//! /// One short line for each request.
//! struct Lines;
//!
//! impl AccessLog for Lines {
//!     fn write(&self, entry: &Entry) {
//!         println!("{} {:?} {:?}", entry.client, entry.status, entry.duration);
//!     }
//! }
//!
//! let gateway = Gateway::new(Options::default().access_log(Arc::new(Lines)));
//! # drop(gateway);
//! ```

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, StatusCode, Version};

use crate::plan::RouteId;

/// Takes an [`Entry`] for each request, on the worker that served it: it must not wait.
pub trait AccessLog: Send + Sync + 'static {
    /// Writes, or hands over, one entry.
    fn write(&self, entry: &Entry);
}

/// One request, or one connection without any. `None` where there is nothing to say. Fields as in Envoy's access log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When the head was read.
    pub start: SystemTime,
    /// From then until the response ended.
    pub duration: Duration,
    /// The method; `None` if what came was no request.
    pub method: Option<Method>,
    /// Path and query as the client sent them; empty when nobody keeps a log.
    pub path: String,
    /// Version of the client's side; `None` if what came was no request.
    pub protocol: Option<Version>,
    /// The status; `None` if the connection ended before one was sent.
    pub status: Option<StatusCode>,
    /// Envoy's response flags, joined by commas.
    pub flags: Cow<'static, str>,
    /// Envoy's response code details.
    pub details: Cow<'static, str>,
    /// Why a TLS handshake with the endpoint, or the connection to it, failed.
    pub upstream_failure: Option<Cow<'static, str>>,
    /// Bytes of the request's body, or of the client.
    pub bytes_received: u64,
    /// Bytes of the response's body, or to the client.
    pub bytes_sent: u64,
    /// From sending the request until the response's head.
    pub upstream_time: Option<Duration>,
    /// `x-forwarded-for` as sent to the backend, or as it would have been; `None` if the head was refused
    /// before its client was found.
    pub forwarded_for: Option<HeaderValue>,
    /// `user-agent`.
    pub user_agent: Option<HeaderValue>,
    /// `x-request-id`, as [`forwarded_for`](Self::forwarded_for).
    pub request_id: Option<HeaderValue>,
    /// The authority as the client sent it.
    pub authority: Option<String>,
    /// The endpoint.
    pub upstream_host: Option<SocketAddr>,
    /// This side of the connection to the endpoint.
    pub upstream_local: Option<SocketAddr>,
    /// This side of the client's connection.
    pub downstream_local: SocketAddr,
    /// The detected client, with the peer's port if it is the peer.
    pub client: IpAddr,
    /// The port that belongs to `client`; 0 if a header named the client.
    pub client_port: u16,
    /// The SNI.
    pub server_name: Option<String>,
    /// The rule: route, index of the rule, index of the match, and the hostname in the route.
    pub rule: Option<Arc<RuleName>>,
}

impl Entry {
    /// Nothing is known yet but when it began, this end of the client's connection, and the other.
    pub(crate) fn begun(start: SystemTime, local: SocketAddr, client: SocketAddr) -> Self {
        Self {
            start,
            duration: Duration::ZERO,
            method: None,
            path: String::new(),
            protocol: None,
            status: None,
            flags: Cow::Borrowed(""),
            details: Cow::Borrowed(""),
            upstream_failure: None,
            bytes_received: 0,
            bytes_sent: 0,
            upstream_time: None,
            forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: None,
            upstream_host: None,
            upstream_local: None,
            downstream_local: local,
            client: client.ip(),
            client_port: client.port(),
            server_name: None,
            rule: None,
        }
    }
}

/// The name of a matched rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleName {
    /// The route.
    pub route: Arc<RouteId>,
    /// Index of the rule in the route.
    pub rule: usize,
    /// Index of the match in the rule.
    pub matched: usize,
    /// The route's hostname that took the request, `*` for all.
    pub hostname: Arc<str>,
}
