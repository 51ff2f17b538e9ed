//! HTTP and gRPC routes: matches, policies, filters, traffic settings and backends of their rules.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use towergate_tls::NamePattern;

use super::{
    ActiveCheck, BackendConnection, DnsSettings, Filter, OutlierDetection, RetryBudget, StreamIdle,
    WeightedBackend, ZoneBalancing,
};
use crate::policy::NoPolicy;
use crate::route::matches::Match;
use crate::text::Text;

/// An HTTPRoute or GRPCRoute, attached to one listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route<P = NoPolicy> {
    /// Kind, namespace and name.
    pub id: Arc<RouteId>,
    /// Intersection of the hostnames of the route and the listener. Never empty.
    pub hostnames: Vec<NamePattern>,
    /// For each entry of `hostnames`, the hostname as written in the route. If this list is empty, the
    /// written hostnames equal `hostnames`. If several routes have the same entry in `hostnames`, the route
    /// with the more specific written hostname takes precedence (Gateway API, `HTTPRouteSpec.hostnames`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written_hostnames: Vec<NamePattern>,
    /// Rules, in the order of the route.
    pub rules: Vec<Arc<Rule<P>>>,
}

/// Name of a route.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct RouteId {
    /// Kind.
    pub kind: RouteKind,
    /// Namespace.
    pub namespace: String,
    /// Name in the namespace.
    pub name: String,
}

/// Kind of a route.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum RouteKind {
    /// `HTTPRoute`.
    Http,
    /// `GRPCRoute`.
    Grpc,
    /// `TLSRoute`.
    Tls,
    /// `TCPRoute`.
    Tcp,
    /// `UDPRoute`.
    Udp,
}

impl RouteKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Http, Self::Grpc, Self::Tls, Self::Tcp, Self::Udp];

    /// The kind in the form that Gateway API uses, such as `HTTPRoute`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }

    /// The kind whose name in Gateway API is `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether routes of this kind match requests. Routes of the other kinds match connections or datagrams.
    pub const fn matches_requests(self) -> bool {
        matches!(self, Self::Http | Self::Grpc)
    }

    /// The kind in lower case, as in Envoy Gateway's cluster names.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "httproute",
            Self::Grpc => "grpcroute",
            Self::Tls => "tlsroute",
            Self::Tcp => "tcproute",
            Self::Udp => "udproute",
        }
    }
}

/// A rule of an HTTPRoute or GRPCRoute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule<P = NoPolicy> {
    /// Route of the rule.
    pub route: Arc<RouteId>,
    /// Index of the rule in the route.
    pub index: usize,
    /// Name of the rule (`name`), if set.
    pub name: Option<String>,
    /// Alternative matches. The rule applies if at least one match holds. Never empty: a rule without matches
    /// has the path prefix `/`.
    pub matches: Vec<Match>,
    /// Effective policies, in the order of execution.
    pub policies: Vec<P>,
    /// Filters, in the order of the route.
    pub filters: Vec<Filter>,
    /// Timeouts, retries, limits and load balancing.
    pub traffic: Arc<Traffic>,
    /// Backends with their weights. If there are no backends and no filter replies to the request, the rule
    /// returns 500.
    pub backends: Vec<WeightedBackend>,
    /// Status of the local reply of an invalid rule (fail closed). The reply has an empty body. `None`: the
    /// rule is valid.
    pub respond: Option<u16>,
}

/// Operators that [`Traffic::stat_name`] may contain.
pub const STAT_NAME_OPERATORS: [&str; 4] = [
    "%ROUTE_KIND%",
    "%ROUTE_NAMESPACE%",
    "%ROUTE_NAME%",
    "%ROUTE_RULE_NAME%",
];

impl<P> Rule<P> {
    /// Name of the rule in metrics. It is [`Traffic::stat_name`], in which the [`STAT_NAME_OPERATORS`] are
    /// replaced by the kind, namespace and name of the route and the name of the rule (`-` if it has none).
    pub fn stat_name(&self) -> Option<String> {
        let pattern = self.traffic.stat_name.as_ref()?;
        let RouteId {
            kind,
            namespace,
            name,
        } = &*self.route;
        let rule = self.name.as_deref().unwrap_or("-");
        let values = [kind.name(), namespace, name, rule];
        let mut text = pattern.clone();
        for (operator, value) in STAT_NAME_OPERATORS.iter().zip(values) {
            text = text.replace(operator, value);
        }
        Some(text)
    }
}

/// Settings of the traffic between the gateway and the backends of a rule: timeouts, retries, limits, load
/// balancing and health checks. The defaults are Envoy's.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Maximum time from the end of the request to the end of the response head; `None`: no limit. Default:
    /// 15 s, as in Envoy.
    pub request_timeout: Option<Duration>,
    /// Timeout of each attempt; `None`: no limit. Default: `None`.
    pub attempt_timeout: Option<Duration>,
    /// Timeout for connecting to an endpoint. Default: 10 s, as in Envoy Gateway.
    pub connect_timeout: Duration,
    /// Idle timeout of pooled connections; `None`: no limit. Default: 1 h, as in Envoy.
    pub idle_timeout: Option<Duration>,
    /// Maximum age at which a pooled connection is used for new requests; `None`: no limit. Default: `None`.
    pub max_connection_duration: Option<Duration>,
    /// Maximum number of requests per pooled connection; `None`: no limit. Default: `None`.
    pub max_requests_per_connection: Option<u32>,
    /// Maximum duration of a request, including its response. After this time the request is reset. `None`:
    /// no limit. Default: `None`.
    pub max_stream_duration: Option<Duration>,
    /// Idle timeout of a request. Default: the idle timeout of the listener.
    pub stream_idle: StreamIdle,
    /// Retries; `None`: disabled. Default: `None`.
    pub retry: Option<Retry>,
    /// Circuit breaker limits.
    pub breaker: Breaker,
    /// Load balancing algorithm. Default: least request.
    pub load_balancer: LoadBalancer,
    /// Time after which a new endpoint receives its full share of the requests; `None`: immediately. Default:
    /// `None`.
    pub slow_start: Option<Duration>,
    /// Request headers that name the preferred endpoint. A value is `address:port`, or a list of such
    /// addresses in order of preference. The first header with a valid address is used. Addresses that are
    /// not endpoints of the backends are ignored. Default: none.
    pub endpoint_headers: Vec<Text<HeaderName>>,
    /// Distribution of the requests over zones; `None`: zones have no effect. Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<ZoneBalancing>,
    /// Protocols that `Upgrade` may contain, in lower case. Default: `websocket`.
    pub upgrades: Vec<String>,
    /// Handling of CONNECT requests; `None`: CONNECT requests are rejected. If this field is set, the rule
    /// matches only CONNECT requests, which have an empty path. Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<ConnectMode>,
    /// Whether requests to a backend use the HTTP version of the client's request instead of the version that
    /// the backend sets. Default: false.
    pub use_client_protocol: bool,
    /// Resolution of host names of backends.
    pub dns: DnsSettings,
    /// Socket, buffer and HTTP/2 settings of connections to endpoints.
    pub connection: BackendConnection,
    /// Outlier detection; `None`: disabled. Default: `None`.
    pub outlier: Option<OutlierDetection>,
    /// Active health checks; `None`: disabled. Default: `None`.
    pub probe: Option<ActiveCheck>,
    /// If the percentage of healthy endpoints is below this value, requests are sent to all endpoints,
    /// regardless of their health. Default: 50, as in Envoy.
    pub panic_threshold: u32,
    /// Name of the rule in metrics, with the operators of [`Rule::stat_name`]. `None`: the rule has no name.
    /// Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat_name: Option<String>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            request_timeout: Some(Duration::from_secs(15)),
            attempt_timeout: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_requests_per_connection: None,
            max_stream_duration: None,
            stream_idle: StreamIdle::default(),
            retry: None,
            breaker: Breaker::default(),
            load_balancer: LoadBalancer::default(),
            slow_start: None,
            endpoint_headers: Vec::new(),
            zones: None,
            upgrades: vec!["websocket".to_owned()],
            connect: None,
            use_client_protocol: false,
            dns: DnsSettings::default(),
            connection: BackendConnection::default(),
            outlier: None,
            probe: None,
            panic_threshold: 50,
            stat_name: None,
        }
    }
}

/// Handling of CONNECT requests. In both modes the tunnel leads to a backend of the rule, regardless of the
/// target of the request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ConnectMode {
    /// The backend receives the CONNECT request and accepts or rejects it.
    Forward,
    /// The gateway accepts the request, and the backend receives the bytes of the tunnel.
    Terminate,
}

/// Retry settings of a rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Maximum number of retries after the first attempt. Default: 2, as in Envoy Gateway.
    pub retries: u32,
    /// Number of attempts after which retries change to the other priority: from the normal backends to those
    /// with [`fallback`](super::Backend::fallback), and back. `None`: retries use the backend of the first
    /// attempt. Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_per_priority: Option<NonZeroU32>,
    /// Conditions for a retry.
    pub on: RetryOn,
    /// Base interval of the exponential back-off. Default: 25 ms, as in Envoy.
    pub base_interval: Duration,
    /// Maximum back-off; `None`: ten times the base interval. Default: `None`.
    pub max_interval: Option<Duration>,
    /// Minimum back-off. If the minimum is not 0, a random time of up to half of the maximum is added to it.
    /// Default: 0 (full jitter), as in Envoy.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub min_interval: Duration,
    /// Timeout of each attempt; `None`: the rule's `attempt_timeout`. Default: `None`.
    pub attempt_timeout: Option<Duration>,
}

impl Default for Retry {
    /// The defaults of Envoy Gateway, which also apply to `retry` in an HTTPRoute.
    fn default() -> Self {
        Self {
            retries: 2,
            attempts_per_priority: None,
            on: RetryOn {
                connect_failure: true,
                refused_stream: true,
                statuses: vec![503],
                // gRPC statuses CANCELLED and UNAVAILABLE.
                grpc_statuses: vec![1, 14],
                ..RetryOn::default()
            },
            base_interval: Duration::from_millis(25),
            max_interval: None,
            min_interval: Duration::ZERO,
            attempt_timeout: None,
        }
    }
}

/// Conditions for a retry (Envoy `retry_on`).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RetryOn {
    /// Connecting to the endpoint failed, including TLS and the connect timeout.
    pub connect_failure: bool,
    /// The backend refused the stream (HTTP/2 `REFUSED_STREAM`).
    pub refused_stream: bool,
    /// No response head was received, because of a connect failure, refused stream, reset, protocol error or
    /// attempt timeout.
    pub reset: bool,
    /// A failure that `reset` includes, if the method of the request is idempotent. Other requests are not
    /// retried, because the backend may have processed them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent_reset: bool,
    /// A failure that `reset` includes, or any 5xx status.
    pub server_error: bool,
    /// A failure that `reset` includes, or the status 502, 503 or 504.
    pub gateway_error: bool,
    /// The status 409.
    pub conflict: bool,
    /// Further statuses.
    pub statuses: Vec<u16>,
    /// Values of `grpc-status` in the response head.
    pub grpc_statuses: Vec<u32>,
}

/// Circuit breaker limits of a rule. Default: 1024 for each limit, as in Envoy. A limit of 0 rejects all
/// traffic.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// Maximum number of connections to endpoints.
    pub connections: u32,
    /// Maximum number of pending requests, which wait for a connection.
    pub pending: u32,
    /// Maximum number of requests in flight.
    pub requests: u32,
    /// Whether one HTTP/2 connection of a client may use at most a quarter of the free `requests`. Default:
    /// `true`.
    pub fair_requests: bool,
    /// Maximum number of retries in flight. Ignored if `retry_budget` is set.
    pub retries: u32,
    /// Limit of retries relative to the requests in flight. It is used instead of `retries`. Default: `None`.
    pub retry_budget: Option<RetryBudget>,
    /// Maximum number of connections per endpoint; `None`: no limit. Default: `None`.
    pub connections_per_endpoint: Option<u32>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            connections: 1024,
            pending: 1024,
            requests: 1024,
            fair_requests: true,
            retries: 1024,
            retry_budget: None,
            connections_per_endpoint: None,
        }
    }
}

/// Load balancing algorithm.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LoadBalancer {
    /// The less loaded of two random endpoints.
    #[default]
    LeastRequest,
    /// Each endpoint in turn.
    RoundRobin,
    /// A random endpoint.
    Random,
    /// Maglev consistent hashing. A request without the key is sent to a random endpoint.
    ConsistentHash {
        /// Part of the request that is hashed.
        key: HashKey,
        /// Number of entries of the Maglev table, a prime number. Envoy default: 65537.
        table_size: usize,
    },
    /// Random endpoints, in proportion to weights that follow from their load reports (ORCA).
    Utilization(UtilizationBalancing),
}

/// Settings of [`LoadBalancer::Utilization`].
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct UtilizationBalancing {
    /// Time for which an endpoint must have sent reports before its weight applies. Default: 10 seconds.
    pub blackout: Duration,
    /// Time after the latest report at which a weight expires. Default: 3 minutes.
    pub expiration: Duration,
    /// Time between two calculations of the weights. Default: 1 second.
    pub update_period: Duration,
    /// Factor, in percent, by which the error rate is multiplied before it is added to the utilization.
    /// Default: 0.
    pub error_penalty_percent: u32,
    /// Metrics, such as `named_metrics.queue`. If `application_utilization` is not reported, the maximum of
    /// these metrics is the utilization. Default: `cpu_utilization`.
    pub metrics: Vec<String>,
    /// Whether load reports are forwarded to clients in responses. Default: no.
    pub keep_reports: bool,
}

impl Default for UtilizationBalancing {
    fn default() -> Self {
        Self {
            blackout: Duration::from_secs(10),
            expiration: Duration::from_secs(180),
            update_period: Duration::from_secs(1),
            error_penalty_percent: 0,
            metrics: Vec::new(),
            keep_reports: false,
        }
    }
}

/// Part of a request that is the key of a consistent hash.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HashKey {
    /// Client IP address.
    SourceIp,
    /// Values of these headers. Absent headers are skipped.
    Headers(Vec<Text<HeaderName>>),
    /// A cookie. If the cookie is absent and `ttl` is set, the gateway generates it.
    Cookie(CookieHash),
    /// Values of these query parameters. Absent parameters are skipped.
    Query(Vec<String>),
}

/// The cookie of a consistent hash.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct CookieHash {
    /// Cookie name.
    pub name: String,
    /// `Max-Age` of a generated cookie. 0: a session cookie is generated; `None`: no cookie is generated.
    pub ttl: Option<Duration>,
    /// Further attributes of a generated cookie, sorted by name.
    pub attributes: Vec<(String, String)>,
}

impl<P> Route<P> {
    /// The hostname as written in the route for `hostname`, which is an entry of `hostnames`.
    pub(crate) fn written_as<'r>(&'r self, hostname: &'r NamePattern) -> &'r NamePattern {
        let mut pairs = hostname_pairs(&self.hostnames, &self.written_hostnames);
        let found = pairs.find(|(served, _)| *served == hostname);
        found.map_or(hostname, |(_, written)| written)
    }
}

/// Pairs each entry of `hostnames` with the hostname at the same index in `written`. If `written` is empty,
/// each hostname is paired with itself.
pub(super) fn hostname_pairs<'r>(
    hostnames: &'r [NamePattern],
    written: &'r [NamePattern],
) -> impl Iterator<Item = (&'r NamePattern, &'r NamePattern)> {
    let pairs = hostnames.iter().enumerate();
    pairs.map(|(at, served)| (served, written.get(at).unwrap_or(served)))
}
