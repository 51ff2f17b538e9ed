//! The inputs of command operators.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode, Uri, Version};

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
    /// TLS parameters of the connection. `None`: the connection does not use TLS.
    pub tls: Option<FormatTls<'a>>,
}

/// TLS parameters of a client connection.
#[derive(Clone, Copy, Debug)]
pub struct FormatTls<'a> {
    /// Server name (SNI).
    pub server_name: Option<&'a str>,
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
    /// Status of the response. `None`: there is no response yet.
    pub status: Option<StatusCode>,
    /// Response flags as in the access log. Empty if there are none.
    pub flags: &'a str,
    /// Response code details as in the access log. Empty before there is a response.
    pub details: &'a str,
    /// Number of received bytes of the request body.
    pub bytes_received: u64,
    /// Endpoint that has responded.
    #[cfg(feature = "gateway")]
    pub upstream: Option<&'a EndpointAddress>,
    /// Name of the matched rule, as in the access log.
    #[cfg(feature = "gateway")]
    pub rule: Option<&'a crate::access_log::RuleName>,
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

impl FormatConnection<'_> {
    /// The address of the client.
    pub(super) fn client_ip(&self) -> IpAddr {
        self.client.ip()
    }
}
