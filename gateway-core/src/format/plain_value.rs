//! Values of operators without arguments.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use http::Version;
#[cfg(feature = "gateway")]
use towergate_tls::ClientCertificate;

use super::context::{FormatConnection, FormatContext, FormatExchange, FormatTls};
use super::operator::PlainOperator;
use super::response_flags;
use super::value::{bytes, shown, text};

impl PlainOperator {
    /// Appends the value, if the operator has one.
    pub(super) fn write(self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let exchange = context.exchange.as_ref();
        let connection = context.connection.as_ref();
        match self {
            Self::Protocol => {
                let version = context.request.and_then(|request| request.version);
                text(out, version.map(protocol))
            }
            Self::Hostname => bytes(out, Some(hostname())),
            // Envoy Gateway configures no virtual clusters, and there is no tracing.
            Self::VirtualClusterName | Self::SpanId | Self::TraceId => false,
            Self::ServerName => text(
                out,
                connection.and_then(|connection| connection.server_name),
            ),
            Self::TlsVersion
            | Self::TlsCipher
            | Self::Ja3Fingerprint
            | Self::Ja4Fingerprint
            | Self::LocalUriSan
            | Self::PeerCertificate
            | Self::PeerDnsSan
            | Self::PeerFingerprint
            | Self::PeerIssuer
            | Self::PeerSubject
            | Self::PeerUriSan => {
                let tls = connection.and_then(|connection| connection.tls);
                tls.is_some_and(|tls| self.write_tls(&tls, out))
            }
            Self::RemoteAddress
            | Self::RemoteIp
            | Self::RemotePort
            | Self::DirectRemoteAddress
            | Self::DirectRemoteIp
            | Self::DirectRemotePort
            | Self::LocalAddress
            | Self::LocalIp
            | Self::LocalPort => {
                connection.is_some_and(|connection| self.write_address(connection, out))
            }
            _ => exchange.is_some_and(|exchange| self.write_exchange(exchange, out)),
        }
    }

    /// Appends the value of an operator for the response.
    fn write_exchange(self, exchange: &FormatExchange<'_>, out: &mut Vec<u8>) -> bool {
        let details = Some(exchange.details).filter(|details| !details.is_empty());
        match self {
            Self::ResponseCode => shown(
                out,
                Some(exchange.status.map_or(0, |status| status.as_u16())),
            ),
            Self::ResponseCodeDetails => text(out, details.filter(|_| !is_stream(exchange))),
            Self::ConnectionTermination => text(out, details.filter(|_| is_stream(exchange))),
            Self::ResponseFlags | Self::ResponseFlagsLong if exchange.flags.is_empty() => {
                text(out, Some("-"))
            }
            Self::ResponseFlags => text(out, Some(exchange.flags)),
            Self::ResponseFlagsLong => response_flags::write_long(exchange.flags, out),
            Self::BytesReceived => shown(out, Some(exchange.bytes_received)),
            Self::BytesSent => shown(out, Some(exchange.bytes_sent)),
            Self::ConnectionId => shown(out, exchange.connection),
            Self::Duration => millis(exchange.duration, out),
            Self::RequestDuration => millis(exchange.request_duration, out),
            Self::ResponseDuration => millis(exchange.response_duration, out),
            Self::ResponseTxDuration => {
                let both = exchange.duration.zip(exchange.response_duration);
                millis(both.map(|(all, head)| all.saturating_sub(head)), out)
            }
            #[cfg(feature = "gateway")]
            Self::RouteName => {
                let rule = exchange.rule.filter(|rule| !rule.is_stream());
                rule.map(|rule| rule.write_route_name(out)).is_some()
            }
            _ => self.write_upstream(exchange, out),
        }
    }

    /// Appends the value of an operator for the selected backend.
    fn write_upstream(self, exchange: &FormatExchange<'_>, out: &mut Vec<u8>) -> bool {
        let local = exchange.upstream_local;
        match self {
            Self::UpstreamAttempts => shown(out, Some(exchange.attempts)),
            Self::UpstreamLocalAddress => shown(out, local),
            Self::UpstreamLocalIp => shown(out, local.map(|local| local.ip())),
            Self::UpstreamLocalPort => shown(out, local.map(|local| local.port())),
            Self::UpstreamProtocol => text(out, exchange.upstream_version.map(protocol)),
            Self::UpstreamTransportFailure => text(out, exchange.upstream_failure),
            #[cfg(feature = "gateway")]
            Self::UpstreamHost | Self::UpstreamRemoteAddress => shown(out, exchange.upstream),
            #[cfg(feature = "gateway")]
            Self::UpstreamRemoteIp => shown(out, remote(exchange).map(|remote| remote.ip())),
            #[cfg(feature = "gateway")]
            Self::UpstreamRemotePort => shown(out, remote(exchange).map(|remote| remote.port())),
            // A direct response has a route but no cluster.
            #[cfg(feature = "gateway")]
            Self::UpstreamCluster => {
                let rule = exchange
                    .rule
                    .filter(|_| exchange.details != "direct_response");
                rule.map(|rule| rule.write_cluster_name(out)).is_some()
            }
            _ => false,
        }
    }

    /// Appends the value of an operator for the client's TLS session or certificate.
    fn write_tls(self, tls: &FormatTls<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::TlsVersion => text(out, Some(tls.version)),
            Self::TlsCipher => text(out, Some(tls.cipher)),
            #[cfg(feature = "gateway")]
            Self::Ja3Fingerprint => {
                text(out, tls.fingerprints.and_then(|found| found.ja3.as_deref()))
            }
            #[cfg(feature = "gateway")]
            Self::Ja4Fingerprint => {
                text(out, tls.fingerprints.and_then(|found| found.ja4.as_deref()))
            }
            #[cfg(feature = "gateway")]
            _ => tls
                .client
                .is_some_and(|client| self.write_client(client, out)),
            #[cfg(not(feature = "gateway"))]
            _ => false,
        }
    }

    /// Appends the value of an operator for the client's certificate.
    #[cfg(feature = "gateway")]
    fn write_client(self, client: &ClientCertificate, out: &mut Vec<u8>) -> bool {
        match self {
            Self::PeerCertificate => text(out, Some(&*escaped_pem(&client.pem()))),
            Self::PeerFingerprint => text(out, Some(client.sha256())),
            Self::PeerIssuer => text(out, Some(client.issuer())),
            Self::PeerSubject => text(out, Some(client.subject())),
            Self::PeerDnsSan => list(client.dns_names(), out),
            Self::PeerUriSan => list(client.uris(), out),
            Self::LocalUriSan => list(client.server_uris(), out),
            _ => false,
        }
    }

    /// Appends the value of an operator for an address of the connection.
    fn write_address(self, connection: &FormatConnection<'_>, out: &mut Vec<u8>) -> bool {
        let FormatConnection {
            client,
            peer,
            local,
            ..
        } = connection;
        match self {
            Self::RemoteAddress => shown(out, Some(client)),
            Self::RemoteIp => shown(out, Some(client.ip())),
            Self::RemotePort => shown(out, Some(client.port())),
            Self::DirectRemoteAddress => shown(out, Some(peer)),
            Self::DirectRemoteIp => shown(out, Some(peer.ip())),
            Self::DirectRemotePort => shown(out, Some(peer.port())),
            Self::LocalAddress => shown(out, Some(local)),
            Self::LocalIp => shown(out, Some(local.ip())),
            Self::LocalPort => shown(out, Some(local.port())),
            _ => false,
        }
    }
}

/// Whether the exchange is a connection or datagram session without requests.
fn is_stream(exchange: &FormatExchange<'_>) -> bool {
    #[cfg(feature = "gateway")]
    return exchange.rule.is_some_and(|rule| rule.is_stream());
    #[cfg(not(feature = "gateway"))]
    {
        let _ = exchange;
        false
    }
}

/// The address of an endpoint that is not a Unix socket.
#[cfg(feature = "gateway")]
fn remote(exchange: &FormatExchange<'_>) -> Option<SocketAddr> {
    exchange.upstream?.ip_and_port()
}

/// Appends milliseconds, rounded down.
fn millis(time: Option<Duration>, out: &mut Vec<u8>) -> bool {
    shown(out, time.map(|time| time.as_millis()))
}

/// Appends values separated by commas.
#[cfg(feature = "gateway")]
fn list(values: &[String], out: &mut Vec<u8>) -> bool {
    let joined = (!values.is_empty()).then(|| values.join(","));
    text(out, joined.as_deref())
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
