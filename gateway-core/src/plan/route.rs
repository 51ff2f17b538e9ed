//! Routes and rules: what matches, and what happens then.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use towergate_tls::NamePattern;

use super::{
    ActiveCheck, BackendConnection, Filter, OutlierDetection, RetryBudget, StreamIdle,
    WeightedBackend,
};
use crate::policy::NoPolicy;
use crate::route::matches::Match;
use crate::text::Text;

/// A route as attached to one listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route<P = NoPolicy> {
    /// Its name.
    pub id: Arc<RouteId>,
    /// Hostnames of the route that the listener takes too. Never empty.
    pub hostnames: Vec<NamePattern>,
    /// The rules, in the order of the route.
    pub rules: Vec<Arc<Rule<P>>>,
}

/// The name of a route.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct RouteId {
    /// What kind of route.
    pub kind: RouteKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The kind of a route.
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
    /// In lower case, as Envoy Gateway has it in the names of clusters.
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

/// A rule of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule<P = NoPolicy> {
    /// The route that it belongs to.
    pub route: Arc<RouteId>,
    /// Its place in the route.
    pub index: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Any of these must hold. Never empty: a rule without matches takes the path prefix `/`.
    pub matches: Vec<Match>,
    /// Policies effective for this rule, in the order in which they run.
    pub policies: Vec<P>,
    /// Filters, in the order of the route.
    pub filters: Vec<Filter>,
    /// Timeouts, retries, limits, balancing.
    pub traffic: Arc<Traffic>,
    /// Where requests go. Empty and no redirect among the filters: 500.
    pub backends: Vec<WeightedBackend>,
    /// Something about the rule is invalid: answer this status, with an empty body (fail closed).
    pub respond: Option<u16>,
}

/// How requests of a rule travel. The defaults are Envoy's.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// From the end of the request to the end of the response's head; `None`: no limit. Envoy: 15 s.
    pub request_timeout: Option<Duration>,
    /// For each attempt.
    pub attempt_timeout: Option<Duration>,
    /// For a new connection. Envoy Gateway: 10 s.
    pub connect_timeout: Duration,
    /// Idle time of pooled connections. Envoy: 1 h.
    pub idle_timeout: Option<Duration>,
    /// Age of pooled connections, after which they take no more requests.
    pub max_connection_duration: Option<Duration>,
    /// Requests per pooled connection.
    pub max_requests_per_connection: Option<u32>,
    /// A request's age, after which it is reset, whether the response has begun or not.
    pub max_stream_duration: Option<Duration>,
    /// How long a request may go without progress.
    pub stream_idle: StreamIdle,
    /// Retries; `None`: none.
    pub retry: Option<Retry>,
    /// Circuit breaker.
    pub breaker: Breaker,
    /// How an endpoint is chosen.
    pub load_balancer: LoadBalancer,
    /// Protocols that `Upgrade` may name, in lower case.
    pub upgrades: Vec<String>,
    /// Sockets, buffers and HTTP/2 of connections.
    pub connection: BackendConnection,
    /// Endpoints that fail get no requests for a while; `None`: they do.
    pub outlier: Option<OutlierDetection>,
    /// Endpoints are asked whether they are well; `None`: they are not.
    pub probe: Option<ActiveCheck>,
    /// With fewer than so many per cent of the endpoints healthy, health does not count. Envoy: 50.
    pub panic_threshold: u32,
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
            upgrades: vec!["websocket".to_owned()],
            connection: BackendConnection::default(),
            outlier: None,
            probe: None,
            panic_threshold: 50,
        }
    }
}

/// When and how often to try again.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first. Envoy Gateway: 2.
    pub retries: u32,
    /// What is worth another try.
    pub on: RetryOn,
    /// Base of the back-off. Envoy: 25 ms.
    pub base_interval: Duration,
    /// Ceiling of the back-off; `None`: ten times the base.
    pub max_interval: Option<Duration>,
    /// No pause is shorter: then only what comes on top of it is left to chance. Zero: any may be, as in
    /// Envoy.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub min_interval: Duration,
    /// For each attempt; `None`: the rule's `attempt_timeout`.
    pub attempt_timeout: Option<Duration>,
}

impl Default for Retry {
    /// The defaults of Envoy Gateway, which also apply to an HTTPRoute's own retries.
    fn default() -> Self {
        Self {
            retries: 2,
            on: RetryOn {
                connect_failure: true,
                refused_stream: true,
                statuses: vec![503],
                // CANCELLED and UNAVAILABLE.
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

/// Events that are worth another try (Envoy `retry_on`).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RetryOn {
    /// No connection.
    pub connect_failure: bool,
    /// The backend refused the stream (HTTP/2 REFUSED_STREAM).
    pub refused_stream: bool,
    /// The connection ended before a response, or the attempt timed out.
    pub reset: bool,
    /// Any of the above, any 5xx, attempt time-outs.
    pub server_error: bool,
    /// 502, 503, 504 and the same failures as `server_error`.
    pub gateway_error: bool,
    /// 409.
    pub conflict: bool,
    /// These statuses.
    pub statuses: Vec<u16>,
    /// These `grpc-status` values in the response head.
    pub grpc_statuses: Vec<u32>,
}

/// Limits of a rule's traffic (Envoy: 1024 each); 0 refuses everything.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// Connections.
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests under way.
    pub requests: u32,
    /// Retries under way.
    pub retries: u32,
    /// Retries as a share of the requests; wins over `retries`.
    pub retry_budget: Option<RetryBudget>,
    /// Connections per endpoint; `None`: no own limit.
    pub connections_per_endpoint: Option<u32>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            connections: 1024,
            pending: 1024,
            requests: 1024,
            retries: 1024,
            retry_budget: None,
            connections_per_endpoint: None,
        }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LoadBalancer {
    /// The less busy of two picked at random.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// At random.
    Random,
    /// By Maglev (table size, a prime) over a key; without a key at random.
    ConsistentHash {
        /// What is hashed.
        key: HashKey,
        /// Entries of the table. Envoy: 65537.
        table_size: usize,
    },
}

/// What a consistent hash looks at.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HashKey {
    /// The client's address.
    SourceIp,
    /// Values of these headers, those that are there.
    Headers(Vec<Text<HeaderName>>),
    /// A cookie, made when it is missing and has a lifetime.
    Cookie(CookieHash),
    /// Values of these query parameters, those that are there.
    Query(Vec<String>),
}

/// A cookie for consistent hashing.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct CookieHash {
    /// Its name.
    pub name: String,
    /// `Max-Age` of a cookie that is made; `None`: none is made.
    pub ttl: Option<Duration>,
    /// Further attributes of a cookie that is made, in order of name.
    pub attributes: Vec<(String, String)>,
}
