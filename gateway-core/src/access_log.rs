//! Access log: one [`Entry`] per request, proxied TCP connection or datagram session.
//!
//! The entry is written when the response, the connection or the session has ended.
//!
//! ```
//! use std::sync::Arc;
//!
//! use towergate_core::access_log::{AccessLog, Entry};
//! use towergate_core::gateway::{Gateway, Options};
//!
//! /// Prints one line per request.
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
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::conn::TlsFingerprints;
use crate::plan::{EndpointAddress, RouteId};

/// Receives each [`Entry`] of the access log. [`Self::write`] is called on the worker that served the
/// request, and must not block.
pub trait AccessLog: Send + Sync + 'static {
    /// Writes or queues an entry.
    fn write(&self, entry: &Entry);

    /// Header fields whose values are included in [`Entry::fields`]. Default: none.
    fn fields(&self) -> &LoggedFields {
        static NONE: LoggedFields = LoggedFields {
            request: Vec::new(),
            response: Vec::new(),
        };
        &NONE
    }
}

/// Names of the header fields that an access log writes. Fields that are members of [`Entry`] need not be
/// listed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoggedFields {
    /// Names of request fields. The logged values are those that the backend receives.
    pub request: Vec<HeaderName>,
    /// Names of response fields. The logged values are those that the client receives.
    pub response: Vec<HeaderName>,
}

impl LoggedFields {
    /// Adds the names in `others` that `self` does not contain.
    pub fn add(&mut self, others: &Self) {
        for (names, others) in [
            (&mut self.request, &others.request),
            (&mut self.response, &others.response),
        ] {
            for name in others {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
    }
}

/// Values of the fields in [`LoggedFields`]. Both lists have the order of the lists there. If a field has
/// several lines, only the value of the first line is included. A list is empty if there is no request or no
/// response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoggedValues {
    /// Fields of the request.
    pub request: Vec<Option<HeaderValue>>,
    /// Fields of the response.
    pub response: Vec<Option<HeaderValue>>,
}

/// TLS parameters of a client connection, for the access log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoggedTls {
    /// Version: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite, by its IANA name.
    pub cipher: &'static str,
}

/// Entry of a request, or of a connection or datagram session without requests. The members correspond to
/// those of Envoy's access log. `None`: the value is not available.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Time at which the request head was read, or the connection or session started. The start of a request
    /// is the Unix epoch if no access log is configured.
    pub start: SystemTime,
    /// Time from `start` to the end of the response, connection or session.
    pub duration: Duration,
    /// Method. `None` if there was no valid request head.
    pub method: Option<Method>,
    /// Path and query as sent by the client. Invalid characters are percent-encoded, as in the request to the
    /// backend. Empty if no access log is configured.
    pub path: String,
    /// HTTP version of the request. `None` if there was no valid request head.
    pub protocol: Option<Version>,
    /// Status of the response. `None` if the connection ended before there was a response, or if the
    /// connection does not use HTTP.
    pub status: Option<StatusCode>,
    /// Envoy's response flags, separated by commas.
    pub flags: Cow<'static, str>,
    /// Envoy's response code details.
    pub details: Cow<'static, str>,
    /// Reason why the TLS handshake with the endpoint failed. `None`: no handshake failed.
    pub upstream_failure: Option<Cow<'static, str>>,
    /// Size of the request body in bytes, or number of bytes received from the client.
    pub bytes_received: u64,
    /// Size of the response body in bytes, or number of bytes sent to the client.
    pub bytes_sent: u64,
    /// Time from the start of the last attempt to the response head.
    pub upstream_time: Option<Duration>,
    /// `x-forwarded-for` as the backend receives it. For a local reply, the value that the backend would have
    /// received. `None` if the request was rejected before client address detection.
    pub forwarded_for: Option<HeaderValue>,
    /// `user-agent`.
    pub user_agent: Option<HeaderValue>,
    /// `x-request-id` as the backend receives it. Local replies and rejected requests are treated as in
    /// [`forwarded_for`](Self::forwarded_for).
    pub request_id: Option<HeaderValue>,
    /// Authority as sent by the client.
    pub authority: Option<String>,
    /// Address of the endpoint.
    pub upstream_host: Option<EndpointAddress>,
    /// Local address of the connection to the endpoint.
    pub upstream_local: Option<SocketAddr>,
    /// Local address of the client connection.
    pub downstream_local: SocketAddr,
    /// Detected client address. Default: the address of the peer.
    pub client: IpAddr,
    /// Port of the client. 0 if `client` comes from a header field.
    pub client_port: u16,
    /// Address of the peer of the client connection: the client itself or the nearest proxy.
    pub peer: SocketAddr,
    /// SNI of the TLS handshake.
    pub server_name: Option<String>,
    /// TLS of the client connection. `None` if the connection does not use TLS, or if the backend terminates
    /// TLS.
    pub tls: Option<LoggedTls>,
    /// Fingerprints of the ClientHello. `None`: the listener configures no fingerprint.
    pub fingerprints: Option<Arc<TlsFingerprints>>,
    /// Values of the header fields that [`AccessLog::fields`] lists. `None` if it lists no field.
    pub fields: Option<Box<LoggedValues>>,
    /// Matched rule.
    pub rule: Option<Arc<RuleName>>,
}

impl Entry {
    /// Creates an entry that contains only the start time and addresses.
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
            peer: client,
            server_name: None,
            tls: None,
            fingerprints: None,
            fields: None,
            rule: None,
        }
    }
}

/// The name of a matched rule, for access logs and metrics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleName {
    /// Route.
    pub route: Arc<RouteId>,
    /// Index of the rule in the route.
    pub rule: usize,
    /// Index of the match in the rule.
    pub matched: usize,
    /// Hostname of the route that the request matched. `*`: all hosts.
    pub hostname: Arc<str>,
}

impl RuleName {
    /// Writes the name that Envoy Gateway gives the match:
    /// `httproute/namespace/name/rule/0/match/0/app_example_com`.
    pub fn write_route_name(&self, out: &mut Vec<u8>) {
        let RouteId {
            kind,
            namespace,
            name,
        } = &*self.route;
        let (word, rule, matched) = (kind.word(), self.rule, self.matched);
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "{word}/{namespace}/{name}/rule/{rule}/match/{matched}/"
        );
        let dots = |byte: u8| if byte == b'.' { b'_' } else { byte };
        out.extend(self.hostname.bytes().map(dots));
    }
}
