//! The spec of a ClientTrafficPolicy, and its conversion to settings of a listener.

use std::time::Duration;

use towergate_core::plan;

use super::client_ip::ClientIpDetection;
use super::connection::Connection;
use super::headers::EnvoyHeaders;
use super::http1::Http1;
use super::listener_context::ListenerContext;
use super::path::PathSettings;
use super::timeout::Timeout;
use super::tls::{ClientTls, TlsParameters};
use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{Http2, TargetKind, TargetRef, TargetSelector, TcpKeepalive, impl_targets};
use crate::field_path::FieldPath;

string_enum! {
    /// The scheme of requests to backends.
    pub enum BackendScheme {
        Preserve = "Preserve",
        MatchBackend = "MatchBackend",
    }
}

api_struct! {
    /// Settings of a listener and of its connections with clients.
    pub struct ClientTrafficPolicySpec, rules {
        /// Target of the policy.
        target_ref: TargetRef = "targetRef" Deprecated("targetRefs"),
        /// Targets of the policy: Gateways, ListenerSets, or single listeners of them.
        target_refs: Vec<TargetRef> = "targetRefs",
        /// Further targets, selected by labels.
        target_selectors: Vec<TargetSelector> = "targetSelectors",
        /// TCP keep-alive of client connections. Default: off.
        tcp_keepalive: TcpKeepalive = "tcpKeepalive",
        /// Whether connections start with a PROXY header. `proxyProtocol` takes precedence. Default:
        /// `false`.
        enable_proxy_protocol: bool = "enableProxyProtocol" Deprecated("proxyProtocol"),
        /// PROXY protocol, version 1 or 2. If present, connections start with a PROXY header.
        proxy_protocol: ProxyProtocol = "proxyProtocol",
        /// Source of the client address. Default: the peer of the connection, or the PROXY header.
        client_ip_detection: ClientIpDetection = "clientIPDetection",
        /// TLS with clients.
        tls: ClientTls = "tls",
        /// Normalization of paths.
        path: PathSettings = "path",
        /// Treatment of header fields.
        headers: EnvoyHeaders = "headers",
        /// Timeouts of client connections and requests.
        timeout: Timeout = "timeout",
        /// Limits and buffers of client connections.
        connection: Connection = "connection",
        /// Settings of HTTP/1.
        http1: Http1 = "http1",
        /// Settings of HTTP/2.
        http2: Http2 = "http2",
        /// HTTP/3. If present, it is enabled.
        http3: Http3 = "http3" Ignored,
        /// A path on which the listener reports its own health.
        health_check: HealthCheckPath = "healthCheck",
        /// Scheme of requests to backends. Default: `Preserve`.
        scheme: BackendScheme = "scheme",
        /// Settings of gRPC.
        grpc: EnableWeb = "grpc",
    }

    /// PROXY protocol on client connections.
    pub struct ProxyProtocol {
        /// Whether connections without a PROXY header are accepted. Default: `false`.
        optional: bool = "optional",
    }

    /// HTTP/3. Has no settings.
    pub struct Http3 {}

    /// A path on which the listener reports its own health.
    pub struct HealthCheckPath {
        /// Path of the health check. It returns 200, or 503 while the gateway drains.
        path: String = "path" [Required, Length(1, 1024)],
    }

    /// Settings of gRPC.
    pub struct EnableWeb {
        /// Whether gRPC-Web is translated to gRPC. Default: `true` if a GRPCRoute is attached to the
        /// listener, else `false`.
        enable_web: bool = "enableWeb",
    }
}

/// Settings of a listener. Absent fields of the policy have the defaults of Envoy Gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerConfig {
    /// Settings of the listener.
    pub settings: plan::ListenerSettings,
    /// Settings of the listener's port.
    pub tcp: plan::TcpSettings,
    /// Settings of TLS, for a listener that terminates it.
    pub tls: TlsParameters,
    /// Idle timeout of a proxied TCP connection. `None`: no limit.
    pub connection_idle: Option<Duration>,
}

impl_targets!(ClientTrafficPolicySpec);

impl ClientTrafficPolicySpec {
    fn rules(&self, report: &mut Report) {
        self.targets()
            .check(&[TargetKind::Gateway, TargetKind::ListenerSet], report);
    }

    /// Whether the policy sets the source of the client address: a PROXY header, a header field, or the peer
    /// of the connection.
    pub fn sets_client_address(&self) -> bool {
        let detection = self.client_ip_detection.as_ref();
        self.enable_proxy_protocol == Some(true)
            || self.proxy_protocol.is_some()
            || detection.is_some_and(|detection| {
                detection.x_forwarded_for.is_some()
                    || detection.custom_header.is_some()
                    || detection.direct_source_ip.is_some()
            })
    }

    /// Converts the policy to settings of a listener.
    ///
    /// # Errors
    /// The first field that is not supported. If all fields are supported, the first field whose value is
    /// invalid.
    pub fn listener_settings(
        &self,
        context: ListenerContext<'_>,
    ) -> Result<ListenerConfig, FieldError> {
        let at = FieldPath::SPEC;
        let mut report = Report::at(at, |report| self.check_fields(report));
        report.require_supported()?;
        report.require_valid()?;
        let Self {
            target_ref: _,
            target_refs: _,
            target_selectors: _,
            tcp_keepalive,
            enable_proxy_protocol,
            proxy_protocol,
            client_ip_detection,
            tls,
            path,
            headers,
            timeout,
            connection,
            http1,
            http2,
            http3: _,
            health_check,
            scheme: _,
            grpc,
        } = self.clone();
        let timeouts = timeout.unwrap_or_default().settings(at.field("timeout"))?;
        let connection = connection.unwrap_or_default();
        let (limits, socket) = connection.settings(at.field("connection"))?;
        let http2 = http2.unwrap_or_default().settings(at.field("http2"))?;
        let keepalive = tcp_keepalive.map(|tcp| tcp.keepalive(at.field("tcpKeepalive")));
        let detection = client_ip_detection.unwrap_or_default();
        let tls = tls.unwrap_or_default();
        Ok(ListenerConfig {
            settings: plan::ListenerSettings {
                client_ip: detection.rule(at.field("clientIPDetection"))?,
                headers: headers.unwrap_or_default().settings(at.field("headers"))?,
                path: path.unwrap_or_default().settings(at.field("path"))?,
                timeouts: timeouts.http,
                http1: http1
                    .unwrap_or_default()
                    .settings(at.field("http1"), context)?,
                http2,
                limits,
                health_check_path: health_check.and_then(|check| check.path),
                translate_grpc_web: grpc.and_then(|grpc| grpc.enable_web),
                fingerprints: tls.fingerprints(),
                ..Default::default()
            },
            tcp: plan::TcpSettings {
                proxy_protocol: expected_header(enable_proxy_protocol, proxy_protocol),
                inspection_timeout: timeouts.inspection,
                keepalive: keepalive.transpose()?,
                ..socket
            },
            tls: tls.parameters(at.field("tls"))?,
            connection_idle: timeouts.connection_idle,
        })
    }
}

/// The expected PROXY header. `proxyProtocol` takes precedence over `enableProxyProtocol`.
fn expected_header(
    enabled: Option<bool>,
    expected: Option<ProxyProtocol>,
) -> Option<plan::ProxyProtocol> {
    match expected {
        Some(ProxyProtocol { optional }) => Some(plan::ProxyProtocol {
            optional: optional.unwrap_or(false),
            trusted: None,
        }),
        None => (enabled == Some(true)).then(plan::ProxyProtocol::default),
    }
}
