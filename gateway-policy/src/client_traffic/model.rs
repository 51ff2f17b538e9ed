//! `spec` of a ClientTrafficPolicy as it is written, with the limits of its fields.

use std::time::Duration;

use super::tls_model::ClientTls;
use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::{Http2, TcpKeepalive};
use crate::check::{Report, SchemaViolation, count};
use crate::common::{
    CIDR, DurationText, HeaderChange, Quantity, StringMatch, TargetRef, TargetSelector, Targets,
};

string_enum! {
    /// What becomes of `x-request-id`.
    pub enum RequestId {
        PreserveOrGenerate = "PreserveOrGenerate",
        Preserve = "Preserve",
        Generate = "Generate",
        Disable = "Disable",
    }

    /// What becomes of header names with an underscore.
    pub enum UnderscoresAction {
        Allow = "Allow",
        RejectRequest = "RejectRequest",
        DropHeader = "DropHeader",
    }

    /// What becomes of `x-forwarded-client-cert`.
    pub enum XfccMode {
        Sanitize = "Sanitize",
        ForwardOnly = "ForwardOnly",
        AppendForward = "AppendForward",
        SanitizeSet = "SanitizeSet",
        AlwaysForwardOnly = "AlwaysForwardOnly",
    }

    /// A further part of `x-forwarded-client-cert`.
    pub enum XfccDetail {
        Subject = "Subject",
        Cert = "Cert",
        Chain = "Chain",
        Dns = "DNS",
        Uri = "URI",
    }

    /// What an escaped slash or backslash in a path does.
    pub enum SlashesAction {
        KeepUnchanged = "KeepUnchanged",
        RejectRequest = "RejectRequest",
        UnescapeAndForward = "UnescapeAndForward",
        UnescapeAndRedirect = "UnescapeAndRedirect",
    }

    /// The scheme that backends see.
    pub enum Scheme {
        Preserve = "Preserve",
        MatchBackend = "MatchBackend",
    }
}

api_struct! {
    /// `spec` of a ClientTrafficPolicy.
    pub struct ClientTrafficPolicySpec, rules {
        /// The target (deprecated).
        target_ref: TargetRef = "targetRef",
        /// The targets.
        target_refs: Vec<TargetRef> = "targetRefs",
        /// Further targets, by label.
        target_selectors: Vec<TargetSelector> = "targetSelectors",
        /// TCP keep-alive of clients' connections.
        tcp_keepalive: TcpKeepalive = "tcpKeepalive",
        /// Deprecated form of `proxyProtocol`, which wins over this.
        enable_proxy_protocol: bool = "enableProxyProtocol",
        /// Connections begin with a PROXY header.
        proxy_protocol: ProxyProtocol = "proxyProtocol",
        /// How the client's address is found.
        client_ip_detection: ClientIpDetection = "clientIPDetection",
        /// TLS with clients.
        tls: ClientTls = "tls",
        /// Normalisation of paths.
        path: PathSettings = "path",
        /// Header handling.
        headers: EnvoyHeaders = "headers",
        /// Timers.
        timeout: Timeout = "timeout",
        /// Limits and buffers of connections.
        connection: Connection = "connection",
        /// HTTP/1.
        http1: Http1 = "http1",
        /// HTTP/2.
        http2: Http2 = "http2",
        /// HTTP/3: present means on.
        http3: Http3 = "http3",
        /// A path that the listener itself answers.
        health_check: HealthCheckPath = "healthCheck",
        /// The scheme that backends see.
        scheme: Scheme = "scheme",
        /// gRPC.
        grpc: EnableWeb = "grpc",
    }

    /// PROXY protocol: present means expected.
    pub struct ProxyProtocol {
        /// Connections without a header are served too.
        optional: bool = "optional",
    }

    /// How the client's address is found.
    pub struct ClientIpDetection, rules {
        /// By `X-Forwarded-For`.
        x_forwarded_for: XForwardedFor = "xForwardedFor",
        /// By another header.
        custom_header: CustomHeader = "customHeader",
        /// It is the peer.
        direct_source_ip: DirectSourceIp = "directSourceIP",
    }

    /// Which entry of `X-Forwarded-For` is the client.
    pub struct XForwardedFor, rules {
        /// The one at this place from the right.
        num_trusted_hops: i64 = "numTrustedHops" [Range(0, 4294967295)],
        /// The rightmost one in none of these networks.
        trusted_cidrs: Vec<String> = "trustedCIDRs" [Items(1, usize::MAX), Pattern(CIDR)],
        /// The peer is not appended to the header.
        disable_append: bool = "disableXForwardedForAppend",
    }

    /// A header that holds the client's address.
    pub struct CustomHeader {
        /// Its name.
        name: String = "name" [Required, Length(1, 255), Pattern("^[A-Za-z0-9-]+$")],
        /// Requests without a usable value are refused.
        fail_closed: bool = "failClosed",
    }

    /// The peer is the client; nothing to set.
    pub struct DirectSourceIp {}

    /// Normalisation of paths.
    pub struct PathSettings {
        /// What escaped slashes do.
        escaped_slashes_action: SlashesAction = "escapedSlashesAction",
        /// `//` is kept.
        disable_merge_slashes: bool = "disableMergeSlashes",
    }

    /// Header handling.
    pub struct EnvoyHeaders, rules {
        /// Adds `x-envoy-*`.
        enable_envoy_headers: bool = "enableEnvoyHeaders",
        /// Sends no `x-ratelimit-*`.
        disable_rate_limit_headers: bool = "disableRateLimitHeaders",
        /// What becomes of `x-forwarded-client-cert`.
        x_forwarded_client_cert: XForwardedClientCert = "xForwardedClientCert",
        /// What becomes of names with `_`.
        with_underscores_action: UnderscoresAction = "withUnderscoresAction",
        /// Deprecated form of `requestID: PreserveOrGenerate`.
        preserve_x_request_id: bool = "preserveXRequestID",
        /// What becomes of `x-request-id`.
        request_id: RequestId = "requestID",
        /// Edits of requests, before everything else.
        early_request_headers: HeaderChange = "earlyRequestHeaders",
        /// Edits of responses, after everything else.
        late_response_headers: HeaderChange = "lateResponseHeaders",
        /// The largest head of a request.
        max_request_header_limit: Quantity = "maxRequestHeaderLimit",
        /// Normalisation of `Host`.
        host: HostSettings = "host",
    }

    /// What becomes of `x-forwarded-client-cert`.
    pub struct XForwardedClientCert, rules {
        /// What.
        mode: XfccMode = "mode",
        /// Parts beside `Hash` and `By`.
        cert_details_to_add: Vec<XfccDetail> = "certDetailsToAdd" [Items(0, 5)],
    }

    /// Normalisation of `Host`.
    pub struct HostSettings {
        /// `example.com.` is `example.com`.
        strip_trailing_host_dot: bool = "stripTrailingHostDot",
    }

    /// Timers.
    pub struct Timeout {
        /// Of connections.
        tcp: TcpTimeout = "tcp",
        /// Of requests.
        http: HttpTimeout = "http",
    }

    /// Timers of connections.
    pub struct TcpTimeout {
        /// Silence on a TCP proxy connection.
        idle_timeout: DurationText = "idleTimeout",
        /// Until the PROXY header and the ClientHello are read.
        connection_inspection_timeout: DurationText = "connectionInspectionTimeout",
        /// Until the TLS handshake is over.
        tls_handshake_timeout: DurationText = "tlsHandshakeTimeout",
    }

    /// Timers of requests.
    pub struct HttpTimeout {
        /// Until the whole request has come.
        request_received_timeout: DurationText = "requestReceivedTimeout",
        /// Until the head of the request has come.
        request_headers_received_timeout: DurationText = "requestHeadersReceivedTimeout",
        /// A connection without a request.
        idle_timeout: DurationText = "idleTimeout",
        /// A request without progress.
        stream_idle_timeout: DurationText = "streamIdleTimeout",
    }

    /// Limits and buffers of connections.
    pub struct Connection {
        /// Limits.
        connection_limit: ConnectionLimit = "connectionLimit",
        /// Bytes buffered per connection.
        buffer_limit: Quantity = "bufferLimit",
        /// Buffers of the socket.
        socket_buffer_limit: Quantity = "socketBufferLimit",
        /// Connections accepted in a row.
        max_accept_per_socket_event: i64 = "maxAcceptPerSocketEvent" [Range(0, 4294967295)],
    }

    /// Limits of connections.
    pub struct ConnectionLimit, rules {
        /// Connections at the same time.
        value: i64 = "value" [Range(1, i64::MAX)],
        /// How long a surplus connection is kept before it is closed.
        close_delay: DurationText = "closeDelay",
        /// A connection's age.
        max_connection_duration: DurationText = "maxConnectionDuration",
        /// Requests on one connection.
        max_requests_per_connection: i64 = "maxRequestsPerConnection" [Range(0, 4294967295)],
        /// A request's age.
        max_stream_duration: DurationText = "maxStreamDuration",
    }

    /// HTTP/1.
    pub struct Http1 {
        /// Forwards trailers.
        enable_trailers: bool = "enableTrailers",
        /// Keeps the case of names.
        preserve_header_case: bool = "preserveHeaderCase",
        /// HTTP/1.0: present means accepted.
        http10: Http10 = "http10",
        /// Values of `Upgrade` that are treated as if they were not there.
        ignored_upgrade_types: Vec<StringMatch> = "ignoredUpgradeTypes",
        /// Connections end as soon as they are old enough.
        disable_safe_max_connection_duration: bool = "disableSafeMaxConnectionDuration",
    }

    /// HTTP/1.0.
    pub struct Http10 {
        /// Requests without `Host` get the host name of the listener.
        use_default_host: bool = "useDefaultHost",
    }

    /// HTTP/3; nothing to set.
    pub struct Http3 {}

    /// A path that the listener itself answers.
    pub struct HealthCheckPath {
        /// The path.
        path: String = "path" [Required, Length(1, 1024)],
    }

    /// gRPC.
    pub struct EnableWeb {
        /// gRPC-Web is translated.
        enable_web: bool = "enableWeb",
    }
}

impl ClientTrafficPolicySpec {
    /// What the policy is attached to.
    pub fn targets(&self) -> Targets<'_> {
        Targets {
            single: self.target_ref.as_ref(),
            list: self.target_refs.as_deref().unwrap_or_default(),
            selectors: self.target_selectors.as_deref().unwrap_or_default(),
        }
    }

    /// Everything that the API server would refuse; empty: valid.
    pub fn validate(&self) -> Vec<SchemaViolation> {
        Report::of(self)
    }

    fn rules(&self, report: &mut Report) {
        self.targets().check(&["Gateway", "ListenerSet"], report);
    }
}

impl ClientIpDetection {
    fn rules(&self, report: &mut Report) {
        let given = [
            self.x_forwarded_for.is_some(),
            self.custom_header.is_some(),
            self.direct_source_ip.is_some(),
        ];
        report.rule(
            count(&given) == 1,
            "exactly one of xForwardedFor, customHeader, or directSourceIP must be set",
        );
    }
}

impl XForwardedFor {
    fn rules(&self, report: &mut Report) {
        report.rule(
            count(&[
                self.num_trusted_hops.is_some(),
                self.trusted_cidrs.is_some(),
            ]) == 1,
            "only one of numTrustedHops or trustedCIDRs must be set",
        );
    }
}

impl EnvoyHeaders {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.preserve_x_request_id.is_none() || self.request_id.is_none(),
            "preserveXRequestID and requestID cannot both be set.",
        );
    }
}

impl XForwardedClientCert {
    fn rules(&self, report: &mut Report) {
        let details = self.cert_details_to_add.as_deref().unwrap_or_default();
        report.rule(
            details.is_empty()
                || matches!(
                    self.mode,
                    Some(XfccMode::AppendForward | XfccMode::SanitizeSet)
                ),
            "certDetailsToAdd can only be set when mode is AppendForward or SanitizeSet",
        );
    }
}

impl ConnectionLimit {
    fn rules(&self, report: &mut Report) {
        let delay = self.close_delay.as_ref().and_then(DurationText::parse);
        report.rule(
            delay.is_none_or(|delay| delay == Duration::ZERO) || self.value.is_some(),
            "closeDelay can only be configured when value is set",
        );
    }
}
