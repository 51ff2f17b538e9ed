//! Effective settings of a listener, as plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client_ip::ClientIpRule;
use crate::filter::header::HeaderEdits;
use crate::text::TextMatch;

/// Effective settings of a listener. The defaults are those of Envoy Gateway without a policy.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct ListenerSettings {
    /// Source of the client's address. Default: the peer.
    pub client_ip: ClientIpRule,
    /// Header handling.
    pub headers: HeaderSettings,
    /// Path normalisation.
    pub path: PathSettings,
    /// Timeouts of client connections.
    pub timeouts: Timeouts,
    /// HTTP/1 settings.
    pub http1: Http1Settings,
    /// HTTP/2 settings.
    pub http2: Http2Settings,
    /// Connection limits.
    pub limits: ConnectionLimits,
    /// Path of health checks. The gateway itself replies to requests for this path, before routing: 200, or
    /// 503 while it drains. Default: none.
    pub health_check_path: Option<String>,
    /// Whether 404 is returned if no rule of the most specific matching hostname matches, as in Envoy.
    /// Default: false; as Gateway API requires, the rules of less specific hostnames are tried.
    pub strict_host: bool,
    /// Whether rules are compared with the decoded path, as in ingress-nginx. Default: false; only unreserved
    /// characters are decoded.
    #[serde(default)]
    pub decoded_paths: bool,
    /// Whether `x-envoy-external-address` of a client is forwarded in the cases in which Envoy forwards it.
    /// Default: false; the field is removed.
    pub keep_external_address: bool,
    /// Whether gRPC-Web is translated to gRPC. Default: `None`; gRPC-Web is translated if a GRPCRoute is
    /// attached to the listener.
    pub translate_grpc_web: Option<bool>,
    /// Fingerprints of the ClientHello that are computed. Default: none.
    #[serde(default)]
    pub fingerprints: FingerprintSettings,
}

/// Fingerprints of the ClientHello that are computed for each connection (ClientTrafficPolicy `tls.fingerprints`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct FingerprintSettings {
    /// Whether the JA3 fingerprint is computed. Default: false.
    pub ja3: bool,
    /// Whether the JA4 fingerprint is computed. Default: false.
    pub ja4: bool,
}

/// Header handling (ClientTrafficPolicy `headers`).
#[derive(Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct HeaderSettings {
    /// Add `x-envoy-*` headers to requests and responses. Default: false.
    pub envoy_headers: bool,
    /// Handling of `x-request-id`. Default: generate.
    pub request_id: RequestIdMode,
    /// Handling of header names with an underscore. Default: reject.
    pub underscores: Underscores,
    /// Handling of `x-forwarded-client-cert`. Default: sanitize.
    pub xfcc: XfccMode,
    /// Keys of `x-forwarded-client-cert` in addition to `By` and `Hash`. Default: none.
    pub xfcc_details: XfccDetails,
    /// Edits of request headers, applied after the request is sanitized and before client IP detection.
    pub early: HeaderEdits,
    /// Edits of response headers, applied last.
    pub late: HeaderEdits,
    /// Remove one trailing dot from the host. Default: false.
    pub strip_trailing_host_dot: bool,
    /// Maximum size of a request head, in bytes. Default: 61,440.
    pub max_request_head: usize,
    /// Add `x-ratelimit-*` headers to responses. Default: true.
    pub rate_limit_headers: bool,
}

impl Default for HeaderSettings {
    fn default() -> Self {
        Self {
            envoy_headers: false,
            request_id: RequestIdMode::default(),
            underscores: Underscores::default(),
            xfcc: XfccMode::default(),
            xfcc_details: XfccDetails::default(),
            early: HeaderEdits::default(),
            late: HeaderEdits::default(),
            strip_trailing_host_dot: false,
            max_request_head: 60 * 1024,
            rate_limit_headers: true,
        }
    }
}

/// Handling of `x-request-id` (ClientTrafficPolicy `headers.requestID`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RequestIdMode {
    /// Replace the ID at the edge. Behind a trusted proxy, generate a missing ID.
    #[default]
    Generate,
    /// Keep the client's ID. Generate a missing ID.
    PreserveOrGenerate,
    /// Keep the client's ID. Never generate an ID.
    Preserve,
    /// Do not generate an ID. Equivalent to `Preserve`.
    Disable,
}

/// Handling of header names with an underscore.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Underscores {
    /// Forward the header.
    Allow,
    /// Reject the request with 400.
    #[default]
    Reject,
    /// Remove the header.
    Drop,
}

/// Handling of `x-forwarded-client-cert`. A client is verified if it presented a certificate and the
/// certificate was verified.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub enum XfccMode {
    /// Remove the field.
    #[default]
    Sanitize,
    /// Forward the field from a verified client; otherwise remove it.
    ForwardOnly,
    /// Append an element to the field from a verified client; otherwise remove the field.
    AppendForward,
    /// Replace the field from a verified client; otherwise remove it.
    SanitizeSet,
    /// Forward the field from every client.
    AlwaysForwardOnly,
}

/// Keys of an `x-forwarded-client-cert` element in addition to `By` and `Hash`. Default of each: false.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct XfccDetails {
    /// `Cert`: the client certificate in PEM.
    pub cert: bool,
    /// `Chain`: the client's certificate chain in PEM, with the client certificate.
    pub chain: bool,
    /// `Subject`: the subject of the client certificate.
    pub subject: bool,
    /// `URI`: the URI subject alternative names.
    pub uri: bool,
    /// `DNS`: the DNS subject alternative names.
    pub dns: bool,
}

/// Path normalisation (ClientTrafficPolicy `path`).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct PathSettings {
    /// Replace consecutive slashes by one slash. Default: true.
    pub merge_slashes: bool,
    /// Handling of `%2F` and `%5C`. Default: unescape and redirect.
    pub escaped_slashes: EscapedSlashes,
}

impl Default for PathSettings {
    fn default() -> Self {
        Self {
            merge_slashes: true,
            escaped_slashes: EscapedSlashes::default(),
        }
    }
}

/// Handling of escaped slashes (`%2F`) and backslashes (`%5C`) in a path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EscapedSlashes {
    /// Keep the escapes.
    KeepUnchanged,
    /// Reject the request with 400.
    RejectRequest,
    /// Unescape, then forward the request.
    UnescapeAndForward,
    /// Redirect the client to the unescaped path with 307.
    #[default]
    UnescapeAndRedirect,
}

/// Timeouts of client connections. `None`: no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Timeouts {
    /// Idle timeout of a client connection: the time without an active HTTP request or, for TLS and TCP,
    /// without a byte in either direction. Default: 1 hour, as in Envoy.
    pub idle: Option<Duration>,
    /// Timeout from the first byte of a request to the end of its head. Default: 10 seconds. Envoy's default
    /// is no limit.
    pub request_headers: Option<Duration>,
    /// Timeout for receiving the complete request. Default: no limit.
    pub request: Option<Duration>,
    /// Idle timeout of a stream: the maximum time without progress of a request or its response. Default: 5
    /// minutes, as in Envoy.
    pub stream_idle: Option<Duration>,
    /// Timeout of the TLS handshake. Default: 15 seconds.
    pub tls_handshake: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_secs(3600)),
            request_headers: Some(Duration::from_secs(10)),
            request: None,
            stream_idle: Some(Duration::from_secs(300)),
            tls_handshake: Some(Duration::from_secs(15)),
        }
    }
}

/// HTTP/1 settings (ClientTrafficPolicy `http1`).
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Http1Settings {
    /// Forward trailers to and from HTTP/1 clients. Default: false.
    pub trailers: bool,
    /// Preserve the case of header names. Default: false.
    pub preserve_header_case: bool,
    /// HTTP/1.0 settings. Default: none; HTTP/1.0 is rejected.
    pub http10: Option<Http10>,
    /// Protocols for which `Upgrade` is ignored. Default: none.
    pub ignored_upgrades: Vec<TextMatch>,
    /// Whether a connection is closed as soon as `ConnectionLimits::max_duration` ends. Default: false; it is
    /// closed after the next response.
    pub close_at_max_duration: bool,
}

/// HTTP/1.0 settings.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Http10 {
    /// Host for requests without `Host`. Default: none; these requests are rejected.
    pub default_host: Option<String>,
}

/// HTTP/2 settings (ClientTrafficPolicy `http2`); sizes in bytes.
#[derive(Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Http2Settings {
    /// SETTINGS_MAX_CONCURRENT_STREAMS. Default: 100.
    pub max_concurrent_streams: u32,
    /// Initial flow-control window of a stream. Default: 64 KiB.
    pub stream_window: u32,
    /// Initial flow-control window of a connection. Default: 1 MiB.
    pub connection_window: u32,
    /// Interval between PINGs, without jitter. Default: none.
    pub keepalive_interval: Option<Duration>,
    /// Timeout of a PING acknowledgement. Default: `None`, which means 10 seconds.
    pub keepalive_timeout: Option<Duration>,
    /// Maximum jitter added to the PING interval, in percent of the interval. Default: 15, as in Envoy.
    pub keepalive_jitter: u32,
    /// Idle time of a connection after which a PING is sent. Default: none.
    pub keepalive_idle: Option<Duration>,
    /// Whether a malformed message closes the connection instead of the stream. Default: false.
    pub end_on_invalid: bool,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            keepalive_interval: None,
            keepalive_timeout: None,
            keepalive_jitter: 15,
            keepalive_idle: None,
            end_on_invalid: false,
        }
    }
}

#[cfg(feature = "gateway")]
impl Http2Settings {
    /// The PING interval for one connection, including its random jitter.
    pub(crate) fn draw_interval(&self) -> Option<Duration> {
        let interval = self.keepalive_interval?;
        let most = interval.saturating_mul(self.keepalive_jitter) / 100;
        let extra = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Some(interval.saturating_add(Duration::from_micros(fastrand::u64(..=extra))))
    }
}

/// Connection limits (ClientTrafficPolicy `connection`). The default of each limit is `None`: no limit,
/// unless its field documents otherwise.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Maximum number of concurrent connections of the listener, over all threads of the process.
    pub connections: Option<u64>,
    /// Delay before a connection over the limit is closed. `None`: no delay.
    pub close_delay: Option<Duration>,
    /// Maximum age of a connection. An older connection is closed gracefully.
    pub max_duration: Option<Duration>,
    /// Maximum number of requests per connection.
    pub max_requests: Option<u64>,
    /// Maximum duration of a request. On expiry the gateway returns 408 or 504, or resets the stream if the
    /// response has begun.
    pub max_stream_duration: Option<Duration>,
    /// Soft limit of buffered data per connection and direction, in bytes. `None`: 64 KiB.
    pub buffer: Option<usize>,
}
