//! BackendTrafficPolicy: settings of requests and connections to backends.
//!
//! ```text
//! spec (as written) --merge with parent--> spec --validate--> Vec<SchemaViolation>: what the API server would reject
//!                                           └─────traffic───> TrafficConfig: values of the plan, or a FieldError
//! ```
//!
//! Each section of the spec has one file with its declaration and, if it is supported, its conversion. An
//! unsupported field is ignored with a warning if this is safe; otherwise the whole policy is rejected with a
//! message that names the field. [`FieldClass`](crate::check::FieldClass) defines what is safe.
//!
//! ```
//! use towergate_policy::BackendTrafficPolicySpec;
//! use towergate_policy::backend_traffic::RouteContext;
//! use towergate_policy::merge::merge;
//!
//! let gateway: BackendTrafficPolicySpec = serde_json::from_str(r#"{"retry": {}}"#)?;
//! let route: BackendTrafficPolicySpec =
//!     serde_json::from_str(r#"{"mergeType": "JSONMerge", "retry": {"numRetries": 5}}"#)?;
//!
//! let context = RouteContext {
//!     policy: "default/route",
//!     rate_limit_headers: true,
//!     listener: "edge/public/http",
//!     references: &towergate_policy::references::NoReferences,
//!     annotations: &Default::default(),
//! };
//! let config = merge(&gateway, "default", &route)?.traffic(context)?;
//! assert_eq!(config.traffic.retry.map(|retry| retry.retries), Some(5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod active_health;
mod admission_control;
mod bandwidth_limit;
mod body_limit;
mod circuit_breaker;
mod cluster;
mod compression;
mod connection;
mod consistent_hash;
mod extensions;
mod fault_injection;
mod global_limit;
mod limit;
mod limit_rule;
mod load_balancer;
mod local_limit;
mod passive_health;
mod replacement;
mod request_policies;
mod response_override;
mod retry;
mod route_context;
mod spec;
mod telemetry;
mod timeout;

pub use active_health::{
    ActiveHealthCheck, CheckLog, CheckLogFile, CheckLogMatch, CheckLogSink, CheckLogSinkType,
    GrpcCheck, HealthCheckType, HttpCheck, Overrides, Payload, PayloadType, TcpCheck,
};
pub use admission_control::{
    AdmissionControl, GrpcCode, GrpcSuccess, HttpSuccess, SuccessCriteria,
};
pub use bandwidth_limit::{
    Bandwidth, BandwidthLimit, BandwidthRate, BandwidthUnit, ResponseBandwidth, ResponseTrailers,
};
pub use body_limit::RequestBuffer;
pub use circuit_breaker::{CircuitBreaker, PerEndpoint, RetryBudget};
pub use cluster::{ClusterProxyProtocol, ClusterSettings, Dns, LookupFamily, ProxyProtocolVersion};
pub use compression::{Compression, CompressionOptions, CompressionType};
pub use connection::{ClusterConnection, Preconnect};
pub use consistent_hash::{ConsistentHash, ConsistentHashType, Cookie, QueryParam};
pub use extensions::{
    ANNOTATION_PREFIX, LIMITS_BEFORE_AUTHENTICATION, LOCAL_RATE_LIMIT, MAX_REQUEST_BODY,
    RateLimitExtension,
};
pub use fault_injection::{Abort, Delay, FaultInjection};
pub use limit::{
    ClientSelector, Cost, CostMetadata, CostSource, CostSpecifier, GlobalRateLimitSpec,
    HeaderSelector, LimitMetadata, LimitValue, LocalRateLimitSpec, QuerySelector, RateLimit,
    RateLimitRule, RateLimitType, RateLimitUnit, SelectorKind, SourceKind, SourceSelector,
    XRateLimitHeaders,
};
pub use load_balancer::{
    BackendUtilization, DynamicModule, EndpointOverride, ExtractFrom, Force, LoadBalancer,
    LoadBalancerType, OutOfBand, PreferLocal, SlowStart, WeightedZone, ZoneAware,
};
pub use passive_health::{HealthCheck, PassiveHealthCheck};
pub use response_override::{
    BodyType, CustomResponse, CustomResponseBody, CustomResponseHeaders, OverrideMatch,
    OverridePath, OverridePathType, OverrideRedirect, OverrideSource, RedirectScheme,
    ResponseHeaderMatch, ResponseOverride, StatusCodeMatch, StatusCodeRange, StatusCodeType,
};
pub use retry::{BackOff, PerRetry, Retry, RetryOn, RetryTrigger};
pub use route_context::RouteContext;
pub use spec::{
    BackendTrafficPolicySpec, Connect, HttpUpgrade, MergeType, RoutingType, TrafficConfig,
};
pub use telemetry::{
    CustomTag, CustomTagType, EnvironmentTag, HeaderTag, LiteralTag, Metrics, SpanName, Telemetry,
    Tracing,
};
pub use timeout::{ClusterHttpTimeout, ClusterTcpTimeout, ClusterTimeout};
