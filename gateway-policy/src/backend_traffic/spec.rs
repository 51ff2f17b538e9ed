//! The spec of a BackendTrafficPolicy, and its conversion to values of the plan.

use towergate_core::plan::{self, ConnectMode, RouteKind};

use super::cluster::{ClusterProxyProtocol, ClusterSettings, Dns};
use super::request_policies::RequestSections;
use super::route_context::RouteContext;
use super::telemetry::route_stat_name;
use super::{
    AdmissionControl, BandwidthLimit, CircuitBreaker, ClusterConnection, ClusterTimeout,
    Compression, FaultInjection, HealthCheck, LoadBalancer, RateLimit, RequestBuffer,
    ResponseOverride, Retry, Telemetry,
};
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{Http2, TargetKind, TargetRef, TargetSelector, TcpKeepalive, impl_targets};
use crate::field_path::FieldPath;
use crate::{FieldError, Policy};

string_enum! {
    /// How a policy is merged with its parent.
    pub enum MergeType {
        StrategicMerge = "StrategicMerge",
        JsonMerge = "JSONMerge",
        Replace = "Replace",
    }

    /// The destination of requests.
    pub enum RoutingType {
        Endpoint = "Endpoint",
        Service = "Service",
    }
}

api_struct! {
    /// Settings of requests and connections to backends.
    pub struct BackendTrafficPolicySpec, rules {
        /// Target of the policy.
        target_ref: TargetRef = "targetRef" Deprecated("targetRefs"),
        /// Targets of the policy: Gateways, ListenerSets, listeners, routes, or rules of routes.
        target_refs: Vec<TargetRef> = "targetRefs",
        /// Further targets, selected by labels.
        target_selectors: Vec<TargetSelector> = "targetSelectors",
        /// How the policy is merged with the most specific policy of its parents. Default: it replaces
        /// the parent's policy.
        merge_type: MergeType = "mergeType",
        /// Selection of endpoints. Default: `LeastRequest`.
        load_balancer: LoadBalancer = "loadBalancer",
        /// Retries. If present, they are enabled.
        retry: Retry = "retry",
        /// PROXY protocol on connections to backends. Default: off.
        proxy_protocol: ClusterProxyProtocol = "proxyProtocol",
        /// TCP keep-alive of connections to backends. Default: probes start after 1 minute of silence.
        tcp_keepalive: TcpKeepalive = "tcpKeepalive",
        /// Health checks of endpoints.
        health_check: HealthCheck = "healthCheck",
        /// Limits of concurrent connections and requests.
        circuit_breaker: CircuitBreaker = "circuitBreaker",
        /// Timeouts of requests and connections to backends.
        timeout: ClusterTimeout = "timeout",
        /// Buffers of connections to backends.
        connection: ClusterConnection = "connection",
        /// DNS resolution of backends.
        dns: Dns = "dns",
        /// Settings of HTTP/2 with backends.
        http2: Http2 = "http2",
        /// Rate limits.
        rate_limit: RateLimit = "rateLimit",
        /// Limits of throughput.
        bandwidth_limit: BandwidthLimit = "bandwidthLimit",
        /// Injection of faults.
        fault_injection: FaultInjection = "faultInjection",
        /// Rejection of requests while the success rate is low.
        admission_control: AdmissionControl = "admissionControl",
        /// Whether the backend protocol is that of the client request. Default: `false`.
        use_client_protocol: bool = "useClientProtocol",
        /// Compression of responses.
        compression: Vec<Compression> = "compression" Deprecated("compressor"),
        /// Compression of responses, in order of preference.
        compressor: Vec<Compression> = "compressor",
        /// Replacement of responses. The first match is applied.
        response_override: Vec<ResponseOverride> = "responseOverride",
        /// Protocols that requests may upgrade to. Default: `websocket`.
        http_upgrade: Vec<HttpUpgrade> = "httpUpgrade",
        /// Buffering of request bodies. Default: off.
        request_buffer: RequestBuffer = "requestBuffer",
        /// Tracing and metrics.
        telemetry: Telemetry = "telemetry",
        /// Destination of requests. Default: `Endpoint`.
        routing_type: RoutingType = "routingType",
    }

    /// A protocol that requests may upgrade to.
    pub struct HttpUpgrade, rules {
        /// Name of the protocol. Case-insensitive.
        kind: String = "type" [Required],
        /// Settings of CONNECT.
        connect: Connect = "connect",
    }

    /// Settings of CONNECT.
    pub struct Connect {
        /// Whether the gateway terminates the tunnel and forwards TCP to the backend. Default: `false`.
        terminate: bool = "terminate",
    }
}

/// Values of the plan that a policy sets.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficConfig {
    /// Settings of requests and connections. Absent fields have the defaults. The timeouts and retries
    /// of an HTTPRoute's rule take precedence over `request_timeout`, `attempt_timeout` and `retry`.
    pub traffic: plan::Traffic,
    /// Policies that are enforced on requests.
    pub policies: Vec<Policy>,
    /// Whether requests are sent to the cluster address of a Service instead of its endpoints. `None`: the
    /// setting of the Gateway's EnvoyProxy applies.
    pub service_address: Option<bool>,
}

/// Kinds of targets.
const KINDS: [TargetKind; 7] = [
    TargetKind::Gateway,
    TargetKind::ListenerSet,
    TargetKind::Route(RouteKind::Http),
    TargetKind::Route(RouteKind::Grpc),
    TargetKind::Route(RouteKind::Tcp),
    TargetKind::Route(RouteKind::Udp),
    TargetKind::Route(RouteKind::Tls),
];

impl_targets!(BackendTrafficPolicySpec);

impl BackendTrafficPolicySpec {
    fn rules(&self, report: &mut Report) {
        let targets = self.targets();
        targets.check(&KINDS, report);
        targets.check_merge_type(self.merge_type.is_some(), report);
        report.rule(
            self.merge_type != Some(MergeType::Replace),
            "Replace is not a valid MergeType for BackendTrafficPolicySpec",
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
            self.admission_control.is_none()
                || targets
                    .kinds()
                    .all(|kind| kind.is_some_and(TargetKind::carries_requests)),
            "admissionControl can only be used with Gateway, ListenerSet, HTTPRoute, and GRPCRoute targets",
        );
        let predicts = (self.connection.as_ref()).is_some_and(ClusterConnection::predicts);
        let predictable = (self.load_balancer.as_ref()).is_some_and(LoadBalancer::is_predictable);
        report.rule(
            !predicts || predictable,
            "predictivePercent in preconnect policy only works with RoundRobin or Random load balancers",
        );
    }

    /// Whether the policy has limits for which the rate limit service counts requests. These limits have a
    /// separate domain for each listener.
    pub fn has_global_limits(&self) -> bool {
        let limit = self.rate_limit.as_ref();
        let rules = limit.and_then(|limit| limit.global.as_ref()?.rules.as_ref());
        rules.is_some_and(|rules| !rules.is_empty())
    }

    /// Converts the policy to values of the plan. `mergeType` has no effect here: see
    /// [`merge`](crate::merge::merge()).
    ///
    /// # Errors
    /// The first field that is not supported. If all fields are supported, the first field whose value is
    /// invalid.
    pub fn traffic(&self, context: RouteContext<'_>) -> Result<TrafficConfig, FieldError> {
        let at = FieldPath::SPEC;
        // Only unsupported fields are errors here. The API server reports violations of a single policy, and
        // the caller reports violations of a merged policy.
        Report::at(at, |report| self.check_fields(report)).require_supported()?;
        let Self {
            target_ref: _,
            target_refs: _,
            target_selectors: _,
            merge_type: _,
            load_balancer,
            retry,
            proxy_protocol,
            tcp_keepalive,
            health_check,
            circuit_breaker,
            timeout,
            connection,
            dns,
            http2,
            rate_limit,
            bandwidth_limit,
            fault_injection,
            admission_control,
            use_client_protocol,
            compression: old_compressor,
            compressor,
            response_override,
            http_upgrade,
            request_buffer,
            telemetry,
            routing_type,
        } = self.clone();
        let cluster = ClusterSettings {
            load_balancer,
            retry,
            proxy_protocol,
            tcp_keepalive,
            health_check,
            circuit_breaker,
            timeout,
            connection,
            dns,
            http2,
        };
        let mut traffic = cluster.traffic(at)?;
        // As in Envoy Gateway, an empty list is the default.
        if let Some(list) = http_upgrade.filter(|list| !list.is_empty()) {
            traffic.upgrades = upgrades(at.field("httpUpgrade"), &list)?;
            traffic.connect = connect_mode(&list);
        }
        if request_buffer.is_some() {
            // A buffered request cannot become a tunnel, so no upgrades are allowed.
            traffic.upgrades.clear();
        }
        traffic.use_client_protocol = use_client_protocol == Some(true);
        traffic.stat_name = route_stat_name(telemetry);
        let service_address = is_service_address(at.field("routingType"), routing_type)?;
        let sections = RequestSections {
            rate_limit,
            compressor,
            old_compressor,
            response_override,
            request_buffer,
            fault_injection,
            bandwidth_limit,
            admission_control,
        };
        Ok(TrafficConfig {
            traffic,
            policies: sections.policies(at, context)?,
            service_address,
        })
    }
}

/// Whether requests are sent to the cluster address of a Service; `None`: the setting of the Gateway's
/// EnvoyProxy applies.
fn is_service_address(
    at: FieldPath<'_>,
    routing_type: Option<RoutingType>,
) -> Result<Option<bool>, FieldError> {
    match routing_type {
        None => Ok(None),
        Some(RoutingType::Endpoint) => Ok(Some(false)),
        Some(RoutingType::Service) => Ok(Some(true)),
        Some(RoutingType::Other(value)) => Err(FieldError::unknown_value(at, &value)),
    }
}

/// How CONNECT requests are served. `None`: the list does not contain CONNECT.
fn connect_mode(list: &[HttpUpgrade]) -> Option<ConnectMode> {
    let connect = list.iter().find(|upgrade| upgrade.is_connect())?;
    let connect = connect.connect.as_ref();
    Some(match connect.and_then(|connect| connect.terminate) {
        Some(true) => ConnectMode::Terminate,
        Some(false) | None => ConnectMode::Forward,
    })
}

/// Protocols in lower case, without CONNECT. The list replaces the default.
fn upgrades(at: FieldPath<'_>, list: &[HttpUpgrade]) -> Result<Vec<String>, FieldError> {
    let mut upgrades = Vec::new();
    for (index, upgrade) in list.iter().enumerate() {
        if upgrade.is_connect() {
            continue;
        }
        let kind = upgrade.kind.as_deref().unwrap_or_default();
        let kind = kind.to_ascii_lowercase();
        if kind.is_empty() {
            return Err(FieldError::invalid(at.item(index), "type is empty"));
        }
        if !upgrades.contains(&kind) {
            upgrades.push(kind);
        }
    }
    Ok(upgrades)
}

impl BackendTrafficPolicySpec {
    /// Whether the rules of the policy serve CONNECT requests only.
    pub fn serves_connect(&self) -> bool {
        let mut upgrades = self.http_upgrade.iter().flatten();
        upgrades.any(HttpUpgrade::is_connect)
    }
}

impl HttpUpgrade {
    fn is_connect(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        kind.eq_ignore_ascii_case("connect")
    }

    fn rules(&self, report: &mut Report) {
        report.rule(
            self.connect.is_none() || self.kind.as_deref() == Some("CONNECT"),
            "The connect configuration is only allowed when the type is CONNECT.",
        );
    }
}
