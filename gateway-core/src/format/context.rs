//! The inputs of command operators.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

#[cfg(feature = "gateway")]
use crate::access_log::{Entry, LoggedFields};
#[cfg(feature = "gateway")]
use crate::plan::EndpointAddress;

/// Inputs of the operators of a format. If an input is absent, its operators have no value.
#[derive(Clone, Copy, Debug, Default)]
pub struct FormatContext<'a> {
    /// The request.
    pub request: Option<FormatRequest<'a>>,
    /// Header fields of the response.
    pub response: Option<&'a HeaderMap>,
    /// The connection of the client.
    pub connection: Option<FormatConnection<'a>>,
    /// The state of the exchange at the time of the evaluation.
    pub exchange: Option<FormatExchange<'a>>,
    /// An entry of the access log and the names of its header fields. It replaces `request` and `response`.
    #[cfg(feature = "gateway")]
    pub logged: Option<(&'a Entry, &'a LoggedFields)>,
}

/// The head of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct FormatRequest<'a> {
    /// Method.
    pub method: Option<&'a Method>,
    /// Target.
    pub uri: Option<&'a Uri>,
    /// HTTP version.
    pub version: Option<Version>,
    /// Header fields, with `Host`.
    pub headers: Option<&'a HeaderMap>,
}

/// The connection of a client.
#[derive(Clone, Copy, Debug)]
pub struct FormatConnection<'a> {
    /// Remote address.
    pub peer: SocketAddr,
    /// Local address.
    pub local: SocketAddr,
    /// Detected client address. Its port is 0 if the address comes from a header field.
    pub client: SocketAddr,
    /// Server name (SNI).
    pub server_name: Option<&'a str>,
    /// TLS parameters of the connection. `None`: the connection does not use TLS.
    pub tls: Option<FormatTls<'a>>,
}

/// TLS parameters of a client connection.
#[derive(Clone, Copy, Debug)]
pub struct FormatTls<'a> {
    /// Version, such as `TLSv1.3`.
    pub version: &'a str,
    /// Cipher suite by its IANA name.
    pub cipher: &'a str,
    /// Verified certificate of the client. `None`: no certificate was verified.
    #[cfg(feature = "gateway")]
    pub client: Option<&'a towergate_tls::ClientCertificate>,
    /// Fingerprints of the ClientHello. `None`: the listener configures no fingerprint.
    #[cfg(feature = "gateway")]
    pub fingerprints: Option<&'a crate::conn::TlsFingerprints>,
}

/// The state of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct FormatExchange<'a> {
    /// Time at which the request was received.
    pub start: SystemTime,
    /// Time from `start` to the end of the exchange. `None` before the end.
    pub duration: Option<Duration>,
    /// Time from `start` to the end of the request body. `None` if it is not known.
    pub request_duration: Option<Duration>,
    /// Time from `start` to the head of the backend's response. `None` if it is not known.
    pub response_duration: Option<Duration>,
    /// Status of the response. `None`: there is no response yet.
    pub status: Option<StatusCode>,
    /// Response flags as in the access log. Empty if there are none.
    pub flags: &'a str,
    /// Response code details as in the access log. Empty before there is a response.
    pub details: &'a str,
    /// Number of received bytes of the request body.
    pub bytes_received: u64,
    /// Number of sent bytes of the response body.
    pub bytes_sent: u64,
    /// ID of the client's connection, unique in the process.
    pub connection: Option<u64>,
    /// `grpc-status` in the trailers of the response.
    pub grpc_status: Option<&'a HeaderValue>,
    /// Number of attempts to send the request to a backend.
    pub attempts: u32,
    /// Endpoint that has responded.
    #[cfg(feature = "gateway")]
    pub upstream: Option<&'a EndpointAddress>,
    /// Local address of the connection to the endpoint.
    pub upstream_local: Option<SocketAddr>,
    /// HTTP version of the connection to the endpoint.
    pub upstream_version: Option<Version>,
    /// Reason why the TLS handshake with the endpoint failed.
    pub upstream_failure: Option<&'a str>,
    /// Name of the matched rule, as in the access log.
    #[cfg(feature = "gateway")]
    pub rule: Option<&'a crate::access_log::RuleName>,
}

impl FormatExchange<'_> {
    /// An exchange of which only the start is known.
    pub fn begun(start: SystemTime) -> Self {
        Self {
            start,
            duration: None,
            request_duration: None,
            response_duration: None,
            status: None,
            flags: "",
            details: "",
            bytes_received: 0,
            bytes_sent: 0,
            connection: None,
            grpc_status: None,
            attempts: 0,
            #[cfg(feature = "gateway")]
            upstream: None,
            upstream_local: None,
            upstream_version: None,
            upstream_failure: None,
            #[cfg(feature = "gateway")]
            rule: None,
        }
    }
}

#[cfg(feature = "gateway")]
impl<'a> FormatContext<'a> {
    /// The inputs for an entry of the access log, whose header fields have `names`.
    pub fn of_entry(entry: &'a Entry, names: &'a LoggedFields) -> Self {
        let fingerprints = entry.fingerprints.as_deref();
        let tls = entry.tls.map(|tls| FormatTls {
            version: tls.version,
            cipher: tls.cipher,
            client: entry.client_certificate.as_deref(),
            fingerprints,
        });
        Self {
            request: Some(FormatRequest {
                method: entry.method.as_ref(),
                version: entry.protocol,
                ..FormatRequest::default()
            }),
            response: None,
            connection: Some(FormatConnection {
                peer: entry.peer,
                local: entry.downstream_local,
                client: SocketAddr::new(entry.client, entry.client_port),
                server_name: entry.server_name.as_deref(),
                tls,
            }),
            exchange: Some(FormatExchange {
                start: entry.start,
                duration: Some(entry.duration),
                request_duration: entry.request_duration,
                response_duration: entry.response_duration,
                status: entry.status,
                flags: &entry.flags,
                details: &entry.details,
                bytes_received: entry.bytes_received,
                bytes_sent: entry.bytes_sent,
                connection: entry.connection,
                grpc_status: entry.grpc_status.as_ref(),
                attempts: entry.attempts,
                upstream: entry.upstream_host.as_ref(),
                upstream_local: entry.upstream_local,
                upstream_version: entry.upstream_protocol,
                upstream_failure: entry.upstream_failure.as_deref(),
                rule: entry.rule.as_deref(),
            }),
            logged: Some((entry, names)),
        }
    }
}

impl<'a> FormatRequest<'a> {
    /// The head of a request.
    pub fn of(head: &'a http::request::Parts) -> Self {
        Self::of_parts(&head.method, &head.uri, head.version, &head.headers)
    }

    /// Combines the parts of a head.
    pub(crate) fn of_parts(
        method: &'a Method,
        uri: &'a Uri,
        version: Version,
        headers: &'a HeaderMap,
    ) -> Self {
        Self {
            method: Some(method),
            uri: Some(uri),
            version: Some(version),
            headers: Some(headers),
        }
    }
}
