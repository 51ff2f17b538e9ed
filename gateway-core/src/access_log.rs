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

use http::header::USER_AGENT;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use towergate_tls::ClientCertificate;

use crate::conn::TlsFingerprints;
use crate::http::client_ip::X_FORWARDED_FOR;
use crate::http::forwarded::X_REQUEST_ID;
use crate::plan::{EndpointAddress, RouteId, RouteKind};

pub(crate) const X_ENVOY_UPSTREAM_SERVICE_TIME: HeaderName =
    HeaderName::from_static("x-envoy-upstream-service-time");

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
            durations: false,
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
    /// Whether [`Entry::request_duration`] and [`Entry::response_duration`] are measured.
    pub durations: bool,
}

impl LoggedFields {
    /// Adds the names in `others` that `self` does not contain.
    pub fn add(&mut self, others: &Self) {
        self.durations |= others.durations;
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

impl LoggedValues {
    fn find<'v>(
        values: &'v [Option<HeaderValue>],
        names: &[HeaderName],
        name: &HeaderName,
    ) -> Option<&'v HeaderValue> {
        let at = names.iter().position(|known| known == name)?;
        values.get(at)?.as_ref()
    }
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
    /// Time from `start` to the end of the request body. `None` if [`LoggedFields::durations`] is not set, or if
    /// the body has not been read to its end.
    pub request_duration: Option<Duration>,
    /// Time from `start` to the head of the backend's response. `None` if [`LoggedFields::durations`] is not
    /// set, or if no backend has responded.
    pub response_duration: Option<Duration>,
    /// ID of the client's connection, unique in the process. `None` for connections without requests.
    pub connection: Option<u64>,
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
    /// HTTP version of the connection to the endpoint.
    pub upstream_protocol: Option<Version>,
    /// Number of attempts to send the request to a backend.
    pub attempts: u32,
    /// `grpc-status` in the trailers of the response.
    pub grpc_status: Option<HeaderValue>,
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
    /// Verified certificate of the client.
    pub client_certificate: Option<Arc<ClientCertificate>>,
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
            request_duration: None,
            response_duration: None,
            connection: None,
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
            upstream_protocol: None,
            attempts: 0,
            grpc_status: None,
            downstream_local: local,
            client: client.ip(),
            client_port: client.port(),
            peer: client,
            server_name: None,
            tls: None,
            client_certificate: None,
            fingerprints: None,
            fields: None,
            rule: None,
        }
    }

    /// Whether the values of the request field `name` are in a member other than [`Self::fields`].
    pub(crate) fn has_request_field(name: &HeaderName) -> bool {
        [X_FORWARDED_FOR, USER_AGENT, X_REQUEST_ID].contains(name)
    }

    /// The value of a request field. `names` are those of [`Self::fields`].
    pub(crate) fn request_field(
        &self,
        names: &LoggedFields,
        name: &HeaderName,
    ) -> Option<&HeaderValue> {
        match name {
            name if *name == X_FORWARDED_FOR => self.forwarded_for.as_ref(),
            name if *name == USER_AGENT => self.user_agent.as_ref(),
            name if *name == X_REQUEST_ID => self.request_id.as_ref(),
            name => LoggedValues::find(&self.fields.as_ref()?.request, &names.request, name),
        }
    }

    /// The value of a response field. `names` are those of [`Self::fields`].
    pub(crate) fn response_field(
        &self,
        names: &LoggedFields,
        name: &HeaderName,
    ) -> Option<&HeaderValue> {
        LoggedValues::find(&self.fields.as_ref()?.response, &names.response, name)
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

    /// Writes Envoy's cluster name of the rule: `httproute/namespace/name/rule/0`. The single rule of TLS, TCP
    /// and UDP routes has the number -1.
    pub fn write_cluster_name(&self, out: &mut Vec<u8>) {
        let RouteId {
            kind,
            namespace,
            name,
        } = &*self.route;
        let word = kind.word();
        // Writing to a vector cannot fail.
        let _ = match self.is_stream() {
            true => write!(out, "{word}/{namespace}/{name}/rule/-1"),
            false => write!(out, "{word}/{namespace}/{name}/rule/{}", self.rule),
        };
    }

    /// Whether the rule is that of a TLS, TCP or UDP route. Their matches have no names in Envoy.
    pub fn is_stream(&self) -> bool {
        match self.route.kind {
            RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => true,
            RouteKind::Http | RouteKind::Grpc => false,
        }
    }
}
