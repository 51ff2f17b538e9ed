//! Values of command operators.

use std::io::Write;
use std::sync::LazyLock;

use http::header::HOST;
use http::{HeaderMap, HeaderName, Version};
#[cfg(feature = "gateway")]
use towergate_tls::ClientCertificate;

use super::context::{FormatConnection, FormatContext, FormatExchange, FormatRequest, FormatTls};
use super::operator::{HeaderSource, Operator, PathQuery, PlainOperator};
use crate::http::query::first_value;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl Operator {
    /// Appends the value, if the operator has one.
    pub(super) fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Request(first, second) => {
                let before = out.len();
                first.write(context, out);
                if let Some(second) = second
                    && out.len() == before
                {
                    second.write(context, out);
                }
            }
            Self::Response(first, second) => {
                let Some(headers) = context.response else {
                    return;
                };
                let before = out.len();
                field(headers, first, out);
                if let Some(second) = second
                    && out.len() == before
                {
                    field(headers, second, out);
                }
            }
            Self::Path(query) => {
                let uri = context.request.and_then(|request| request.uri);
                let path = uri.and_then(|uri| match query {
                    PathQuery::With => uri.path_and_query().map(|path| path.as_str()),
                    PathQuery::Without => Some(uri.path()),
                });
                out.extend_from_slice(path.unwrap_or_default().as_bytes());
            }
            Self::QueryParam(name) => {
                let uri = context.request.and_then(|request| request.uri);
                let query = uri.and_then(|uri| uri.query()).unwrap_or_default();
                let value = first_value(query, name).unwrap_or_default();
                out.extend_from_slice(value.as_bytes());
            }
            Self::StartTime(format) => {
                if let Some(exchange) = &context.exchange {
                    format.write(exchange.start, out);
                }
            }
            Self::Plain(operator) => operator.write(context, out),
        }
    }
}

impl HeaderSource {
    fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        let Some(request) = &context.request else {
            return;
        };
        match self {
            Self::Field(name) => {
                if let Some(headers) = request.headers {
                    field(headers, name, out);
                }
            }
            Self::Path => {
                let path = request.uri.and_then(|uri| uri.path_and_query());
                out.extend_from_slice(path.map_or("", |path| path.as_str()).as_bytes());
            }
            Self::Authority => out.extend_from_slice(authority(request)),
            Self::Method => {
                let method = request.method.map_or("", |method| method.as_str());
                out.extend_from_slice(method.as_bytes());
            }
            Self::Scheme => {
                let named = request
                    .headers
                    .and_then(|headers| headers.get(X_FORWARDED_PROTO));
                let tls = context
                    .connection
                    .is_some_and(|connection| connection.tls.is_some());
                out.extend_from_slice(match (named, tls) {
                    (Some(scheme), _) => scheme.as_bytes(),
                    (None, true) => b"https",
                    (None, false) => b"http",
                });
            }
        }
    }
}

/// Appends the first value of a field.
fn field(headers: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) {
    if let Some(value) = headers.get(name) {
        out.extend_from_slice(value.as_bytes());
    }
}

fn authority<'a>(request: &FormatRequest<'a>) -> &'a [u8] {
    let host = request.headers.and_then(|headers| headers.get(HOST));
    let target = || request.uri.and_then(|uri| uri.authority());
    match host {
        Some(host) => host.as_bytes(),
        None => target().map_or("", |target| target.as_str()).as_bytes(),
    }
}

impl PlainOperator {
    fn write(self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = self.try_write(context, out);
    }

    fn try_write(self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
        let tls = || context.connection.as_ref()?.tls.as_ref();
        match self {
            Self::Protocol => {
                let version = context.request.and_then(|request| request.version);
                out.write_all(version.map_or("", protocol).as_bytes())
            }
            Self::Hostname => out.write_all(hostname()),
            Self::ResponseCode
            | Self::ResponseCodeDetails
            | Self::ResponseFlags
            | Self::BytesReceived
            | Self::UpstreamHost
            | Self::RouteName => match &context.exchange {
                Some(exchange) => self.write_exchange(exchange, out),
                None => Ok(()),
            },
            // This operator has no value, because Envoy Gateway configures no virtual clusters.
            Self::VirtualClusterName => Ok(()),
            Self::ServerName
            | Self::TlsVersion
            | Self::TlsCipher
            | Self::Ja3Fingerprint
            | Self::Ja4Fingerprint
            | Self::PeerCertificate
            | Self::PeerFingerprint
            | Self::PeerIssuer
            | Self::PeerSubject => match tls() {
                Some(tls) => self.write_tls(tls, out),
                None => Ok(()),
            },
            Self::RemoteAddress
            | Self::RemoteIp
            | Self::RemotePort
            | Self::DirectRemoteAddress
            | Self::DirectRemoteIp
            | Self::DirectRemotePort
            | Self::LocalAddress
            | Self::LocalIp
            | Self::LocalPort => match &context.connection {
                Some(connection) => self.write_address(connection, out),
                None => Ok(()),
            },
        }
    }

    /// Appends the value of an operator for the response or for the selected backend.
    fn write_exchange(
        self,
        exchange: &FormatExchange<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        match self {
            Self::ResponseCode => write!(out, "{}", exchange.status.map_or(0, |s| s.as_u16())),
            Self::ResponseCodeDetails => out.write_all(exchange.details.as_bytes()),
            Self::ResponseFlags => match exchange.flags {
                "" => out.write_all(b"-"),
                flags => out.write_all(flags.as_bytes()),
            },
            Self::BytesReceived => write!(out, "{}", exchange.bytes_received),
            Self::UpstreamHost => {
                #[cfg(feature = "gateway")]
                if let Some(address) = exchange.upstream {
                    write!(out, "{address}")?;
                }
                Ok(())
            }
            Self::RouteName => {
                #[cfg(feature = "gateway")]
                if let Some(rule) = exchange.rule {
                    rule.write_route_name(out);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Appends the value of an operator for the client's TLS session or certificate.
    fn write_tls(self, tls: &FormatTls<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::ServerName => out.write_all(tls.server_name.unwrap_or_default().as_bytes()),
            Self::TlsVersion => out.write_all(tls.version.as_bytes()),
            Self::TlsCipher => out.write_all(tls.cipher.as_bytes()),
            #[cfg(feature = "gateway")]
            Self::Ja3Fingerprint | Self::Ja4Fingerprint => {
                let found = tls.fingerprints.and_then(|found| match self {
                    Self::Ja3Fingerprint => found.ja3.as_deref(),
                    _ => found.ja4.as_deref(),
                });
                out.write_all(found.unwrap_or_default().as_bytes())
            }
            #[cfg(feature = "gateway")]
            _ => tls
                .client
                .map_or(Ok(()), |client| self.write_client(client, out)),
            #[cfg(not(feature = "gateway"))]
            _ => Ok(()),
        }
    }

    /// Appends the value of an operator for the client's certificate.
    #[cfg(feature = "gateway")]
    fn write_client(self, client: &ClientCertificate, out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::PeerCertificate => out.write_all(escaped_pem(&client.pem()).as_bytes()),
            Self::PeerFingerprint => out.write_all(client.sha256().as_bytes()),
            Self::PeerIssuer => out.write_all(client.issuer().as_bytes()),
            Self::PeerSubject => out.write_all(client.subject().as_bytes()),
            _ => Ok(()),
        }
    }

    /// Appends the value of an operator for an address of the connection.
    fn write_address(
        self,
        connection: &FormatConnection<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        match self {
            Self::RemoteAddress => write!(out, "{}", connection.client),
            Self::RemoteIp => write!(out, "{}", connection.client_ip()),
            Self::RemotePort => write!(out, "{}", connection.client.port()),
            Self::DirectRemoteAddress => write!(out, "{}", connection.peer),
            Self::DirectRemoteIp => write!(out, "{}", connection.peer.ip()),
            Self::DirectRemotePort => write!(out, "{}", connection.peer.port()),
            Self::LocalAddress => write!(out, "{}", connection.local),
            Self::LocalIp => write!(out, "{}", connection.local.ip()),
            Self::LocalPort => write!(out, "{}", connection.local.port()),
            _ => Ok(()),
        }
    }
}

/// Percent-encodes PEM. The set of escaped characters is that of Envoy, as in `x-forwarded-client-cert`.
#[cfg(feature = "gateway")]
pub(crate) fn escaped_pem(pem: &str) -> String {
    let mut text = String::with_capacity(pem.len() + pem.len() / 8);
    for character in pem.chars() {
        match character {
            '\n' => text.push_str("%0A"),
            ' ' => text.push_str("%20"),
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            other => text.push(other),
        }
    }
    text
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Name of this machine or pod.
fn hostname() -> &'static [u8] {
    static NAME: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim_ascii().to_vec()
    });
    &NAME
}
