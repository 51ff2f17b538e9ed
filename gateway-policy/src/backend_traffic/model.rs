//! `spec` of a BackendTrafficPolicy as it is written, with the limits of its fields.

use super::balance::{LoadBalancer, LoadBalancerType};
use super::cluster::{
    CircuitBreaker, ClusterConnection, ClusterProxyProtocol, ClusterTimeout, Dns, Http2, Retry,
    TcpKeepalive,
};
use super::fault::{AdmissionControl, BandwidthLimit, FaultInjection};
use super::health::HealthCheck;
use super::limit::RateLimit;
use super::response::ResponseOverride;
use super::telemetry::Telemetry;
use crate::api_struct::{api_struct, string_enum};
use crate::check::{Report, SchemaViolation};
use crate::common::{Quantity, TargetRef, TargetSelector, Targets};

string_enum! {
    /// How a policy is merged into its parent.
    pub enum MergeType {
        StrategicMerge = "StrategicMerge",
        JsonMerge = "JSONMerge",
        Replace = "Replace",
    }

    /// Where requests are sent.
    pub enum RoutingType {
        Endpoint = "Endpoint",
        Service = "Service",
    }

    /// A content coding.
    pub enum CompressionType {
        Gzip = "Gzip",
        Brotli = "Brotli",
        Zstd = "Zstd",
    }
}

api_struct! {
    /// `spec` of a BackendTrafficPolicy.
    pub struct BackendTrafficPolicySpec, rules {
        /// The target (deprecated).
        target_ref: TargetRef = "targetRef",
        /// The targets.
        target_refs: Vec<TargetRef> = "targetRefs",
        /// Further targets, by label.
        target_selectors: Vec<TargetSelector> = "targetSelectors",
        /// How the policy is merged into its parent; not at all if it is not given.
        merge_type: MergeType = "mergeType",
        /// How an endpoint is chosen.
        load_balancer: LoadBalancer = "loadBalancer",
        /// Retries: present means on.
        retry: Retry = "retry",
        /// A PROXY header for backends.
        proxy_protocol: ClusterProxyProtocol = "proxyProtocol",
        /// TCP keep-alive of connections to backends.
        tcp_keepalive: TcpKeepalive = "tcpKeepalive",
        /// Health of endpoints.
        health_check: HealthCheck = "healthCheck",
        /// Limits of what may be under way.
        circuit_breaker: CircuitBreaker = "circuitBreaker",
        /// Timers.
        timeout: ClusterTimeout = "timeout",
        /// Buffers of connections to backends.
        connection: ClusterConnection = "connection",
        /// Resolution of host names.
        dns: Dns = "dns",
        /// HTTP/2 with backends.
        http2: Http2 = "http2",
        /// Rate limits.
        rate_limit: RateLimit = "rateLimit",
        /// Throughput limits.
        bandwidth_limit: BandwidthLimit = "bandwidthLimit",
        /// Faults put in on purpose.
        fault_injection: FaultInjection = "faultInjection",
        /// Rejection of requests while too many fail.
        admission_control: AdmissionControl = "admissionControl",
        /// Backends are spoken to in the protocol of the client.
        use_client_protocol: bool = "useClientProtocol",
        /// Deprecated form of `compressor`.
        compression: Vec<Compression> = "compression",
        /// Compression of responses.
        compressor: Vec<Compression> = "compressor",
        /// Responses that replace others.
        response_override: Vec<ResponseOverride> = "responseOverride",
        /// Protocols that `Upgrade` may name.
        http_upgrade: Vec<HttpUpgrade> = "httpUpgrade",
        /// Requests are read whole before they are sent on.
        request_buffer: RequestBuffer = "requestBuffer",
        /// Tracing and metrics.
        telemetry: Telemetry = "telemetry",
        /// Where requests are sent.
        routing_type: RoutingType = "routingType",
    }

    /// A content coding and its options.
    pub struct Compression {
        /// Which.
        kind: CompressionType = "type" [Required],
        /// Options of Brotli.
        brotli: CompressionOptions = "brotli",
        /// Options of gzip.
        gzip: CompressionOptions = "gzip",
        /// Options of Zstandard.
        zstd: CompressionOptions = "zstd",
        /// Shorter responses are sent as they are.
        min_content_length: Quantity = "minContentLength",
    }

    /// Options of a content coding; nothing to set.
    pub struct CompressionOptions {}

    /// A protocol that `Upgrade` may name.
    pub struct HttpUpgrade, rules {
        /// The protocol.
        kind: String = "type" [Required],
        /// Options of CONNECT.
        connect: Connect = "connect",
    }

    /// Options of CONNECT.
    pub struct Connect {
        /// The gateway ends the tunnel and speaks TCP to the backend.
        terminate: bool = "terminate",
    }

    /// Requests are read whole.
    pub struct RequestBuffer {
        /// The largest body.
        limit: Quantity = "limit",
    }
}

impl BackendTrafficPolicySpec {
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
        self.targets().check(&KINDS, report);
        report.rule(
            self.merge_type != Some(MergeType::Replace),
            "Replace is not a valid MergeType for BackendTrafficPolicySpec",
        );
        report.rule(
            self.merge_type.is_none() || self.targets_are(|kind| kind.ends_with("Route")),
            "MergeType can only be set when targeting xRoute resources",
        );
        report.rule(
            self.compression.is_none() || self.compressor.is_none(),
            "either compression or compressor can be set, not both",
        );
        report.rule(
            self.request_buffer.is_none() || self.http_upgrade.is_none(),
            "requestBuffer cannot be used together with httpUpgrade",
        );
        report.rule(
            self.admission_control.is_none() || self.targets_are(|kind| HTTP_KINDS.contains(&kind)),
            "admissionControl can only be used with Gateway, ListenerSet, HTTPRoute, and GRPCRoute targets",
        );
        report.rule(
            !self.predicts() || self.balances_in_turn(),
            "predictivePercent in preconnect policy only works with RoundRobin or Random load balancers",
        );
    }

    fn targets_are(&self, holds: impl Fn(&str) -> bool) -> bool {
        self.targets()
            .refs()
            .all(|target| target.kind.as_deref().is_none_or(&holds))
            && (self.targets().selectors.iter())
                .all(|selector| selector.kind.as_deref().is_none_or(&holds))
    }

    fn predicts(&self) -> bool {
        let preconnect = self.connection.as_ref().and_then(|c| c.preconnect.as_ref());
        preconnect.is_some_and(|preconnect| preconnect.predictive_percent.is_some())
    }

    fn balances_in_turn(&self) -> bool {
        let kind = self.load_balancer.as_ref().and_then(|l| l.kind.as_ref());
        matches!(
            kind,
            Some(LoadBalancerType::RoundRobin | LoadBalancerType::Random)
        )
    }
}

const HTTP_KINDS: [&str; 4] = ["Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute"];
const KINDS: [&str; 7] = [
    "Gateway",
    "ListenerSet",
    "HTTPRoute",
    "GRPCRoute",
    "TCPRoute",
    "UDPRoute",
    "TLSRoute",
];

impl HttpUpgrade {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.connect.is_none() || self.kind.as_deref() == Some("CONNECT"),
            "The connect configuration is only allowed when the type is CONNECT.",
        );
    }
}
