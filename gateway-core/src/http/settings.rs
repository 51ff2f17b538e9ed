//! Effective settings of a listener, as plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client_ip::ClientIpRule;
use crate::filter::header::HeaderEdits;
use crate::text::TextMatch;

/// Effective settings of a listener. The defaults are those of Envoy Gateway without a policy.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct ListenerSettings {
    /// How the client's address is found.
    pub client_ip: ClientIpRule,
    /// Header handling.
    pub headers: HeaderSettings,
    /// Path normalisation.
    pub path: PathSettings,
    /// Timers of the client's side.
    pub timeouts: Timeouts,
    /// HTTP/1 switches.
    pub http1: Http1Settings,
    /// HTTP/2 settings.
    pub http2: Http2Settings,
    /// Limits of connections.
    pub limits: ConnectionLimits,
    /// This path is answered 200 (503 while draining) before routing.
    pub health_check_path: Option<String>,
    /// Rules of a more specific hostname that do not match end the search with 404, as in Envoy.
    /// Off: the rules of the next less specific hostname are tried (Gateway API).
    pub strict_host: bool,
    /// A forged `x-envoy-external-address` passes in the modes in which Envoy lets it pass.
    pub keep_external_address: bool,
}

/// Header handling (ClientTrafficPolicy `headers`).
#[derive(Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct HeaderSettings {
    /// Add `x-envoy-*` headers to requests and responses.
    pub envoy_headers: bool,
    /// What becomes of `x-request-id`.
    pub request_id: RequestIdMode,
    /// What becomes of a name with an underscore.
    pub underscores: Underscores,
    /// What becomes of `x-forwarded-client-cert`.
    pub xfcc: XfccMode,
    /// What `x-forwarded-client-cert` says beside `By` and `Hash`.
    pub xfcc_details: XfccDetails,
    /// Edits of requests before everything else.
    pub early: HeaderEdits,
    /// Edits of responses after everything else.
    pub late: HeaderEdits,
    /// `example.com.` is `example.com`.
    pub strip_trailing_host_dot: bool,
    /// The largest request head, in bytes.
    pub max_request_head: usize,
    /// Send `x-ratelimit-*`.
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

/// What becomes of `x-request-id` (ClientTrafficPolicy `headers.requestID`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RequestIdMode {
    /// A fresh one at the edge; behind a trusted proxy only a missing one is made.
    #[default]
    Generate,
    /// Keep the client's, or make one.
    PreserveOrGenerate,
    /// Keep the client's, never make one.
    Preserve,
    /// Leave the header alone.
    Disable,
}

/// What becomes of a request with `_` in a header name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Underscores {
    /// Forwarded.
    Allow,
    /// The request is refused.
    #[default]
    Reject,
    /// The header is dropped.
    Drop,
}

/// What becomes of `x-forwarded-client-cert`. A client *is known* if it showed a certificate that was
/// verified.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub enum XfccMode {
    /// Dropped.
    #[default]
    Sanitize,
    /// Forwarded if the client is known, else dropped.
    ForwardOnly,
    /// Appended to if the client is known, else dropped.
    AppendForward,
    /// Replaced if the client is known, else dropped.
    SanitizeSet,
    /// Always forwarded.
    AlwaysForwardOnly,
}

/// What `x-forwarded-client-cert` says of a client beside `By` and `Hash`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct XfccDetails {
    /// The certificate.
    pub cert: bool,
    /// The whole chain, the certificate included.
    pub chain: bool,
    /// Its subject.
    pub subject: bool,
    /// Its URIs.
    pub uri: bool,
    /// Its DNS names.
    pub dns: bool,
}

/// Path normalisation (ClientTrafficPolicy `path`).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct PathSettings {
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// What `%2F` and `%5C` do.
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

/// What an escaped slash or backslash in a path does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EscapedSlashes {
    /// Nothing.
    KeepUnchanged,
    /// The request is refused (400).
    RejectRequest,
    /// Unescaped, then the request goes on.
    UnescapeAndForward,
    /// The client is sent to the unescaped path (307).
    #[default]
    UnescapeAndRedirect,
}

/// Timers of the client's side; `None`: no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Timeouts {
    /// A connection without an active request; of TLS and TCP: without a byte either way. Envoy: 1 h.
    pub idle: Option<Duration>,
    /// From the first byte of a request until its head is complete. Ours: 10 s where Envoy has none.
    pub request_headers: Option<Duration>,
    /// Until the whole request is received.
    pub request: Option<Duration>,
    /// A request without any progress. Envoy: 5 min.
    pub stream_idle: Option<Duration>,
    /// For the TLS handshake.
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

/// HTTP/1 switches (ClientTrafficPolicy `http1`).
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Http1Settings {
    /// Forward trailers.
    pub trailers: bool,
    /// Keep the case of header names.
    pub preserve_header_case: bool,
    /// Accept HTTP/1.0.
    pub http10: Option<Http10>,
    /// `Upgrade` values that are treated as if they were not there.
    pub ignored_upgrades: Vec<TextMatch>,
    /// Close as soon as the maximum duration is over, not with the next response.
    pub close_at_max_duration: bool,
}

/// HTTP/1.0 is accepted.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Http10 {
    /// The host of requests without `Host`.
    pub default_host: Option<String>,
}

/// HTTP/2 settings (ClientTrafficPolicy `http2`); sizes in bytes.
#[derive(Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Http2Settings {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_concurrent_streams: u32,
    /// Window of a stream.
    pub stream_window: u32,
    /// Window of a connection.
    pub connection_window: u32,
    /// Time between PINGs.
    pub keepalive_interval: Option<Duration>,
    /// Time for the answer to a PING.
    pub keepalive_timeout: Option<Duration>,
    /// The random part that is added to the time between PINGs, in per cent of it. Envoy: 15.
    pub keepalive_jitter: u32,
    /// A PING goes out when a connection was silent for so long.
    pub keepalive_idle: Option<Duration>,
    /// A malformed message ends its connection, not only its stream.
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
    /// The time between two PINGs of one connection, drawn with its jitter.
    pub(crate) fn draw_interval(&self) -> Option<Duration> {
        let interval = self.keepalive_interval?;
        let most = interval.saturating_mul(self.keepalive_jitter) / 100;
        let extra = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Some(interval.saturating_add(Duration::from_micros(fastrand::u64(..=extra))))
    }
}

/// Limits of connections (ClientTrafficPolicy `connection`); `None`: no limit.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Connections at the same time, of the whole process.
    pub connections: Option<u64>,
    /// How long a surplus connection is kept before it is closed.
    pub close_delay: Option<Duration>,
    /// A connection's age, after which it is drained.
    pub max_duration: Option<Duration>,
    /// Requests per connection.
    pub max_requests: Option<u64>,
    /// A request's age, after which it is answered 408 or 504, or reset if its response has begun.
    pub max_stream_duration: Option<Duration>,
    /// Bytes buffered per connection and direction (soft).
    pub buffer: Option<usize>,
}
