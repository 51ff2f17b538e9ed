//! BackendTrafficPolicy: how requests of a route travel to its backends.
//!
//! ```text
//! spec (as written) --merge onto the parent--> spec --validate--> what the API server would refuse
//!                                               └────convert────> TrafficConfig: values of the plan, or a FieldError
//! ```
//!
//! A policy that asks for anything that the gateway does not do is refused as a whole, and says which
//! field it was: nothing is read and then ignored.
//!
//! ```
//! use towergate_policy::BackendTrafficPolicySpec;
//! use towergate_policy::backend_traffic::{RouteContext, merge};
//!
//! let gateway: BackendTrafficPolicySpec = serde_json::from_str(r#"{"retry": {}}"#)?;
//! let route: BackendTrafficPolicySpec =
//!     serde_json::from_str(r#"{"mergeType": "JSONMerge", "retry": {"numRetries": 5}}"#)?;
//!
//! let context = RouteContext {
//!     policy: "default/route",
//!     rate_limit_headers: true,
//! };
//! let converted = merge(&gateway, &route).traffic(context)?;
//! assert_eq!(converted.traffic.retry.map(|retry| retry.retries), Some(5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod balance;
mod balance_plan;
mod cluster;
mod cluster_plan;
mod convert;
mod fault;
mod health;
mod limit;
mod local_limit;
mod merge;
mod model;
mod probe_plan;
mod response;
mod telemetry;

pub use balance::{
    BackendUtilization, ConsistentHash, ConsistentHashType, Cookie, DynamicModule,
    EndpointOverride, ExtractFrom, Force, LoadBalancer, LoadBalancerType, OutOfBand, PreferLocal,
    QueryParam, SlowStart, WeightedZone, ZoneAware,
};
pub use cluster::{
    BackOff, CircuitBreaker, ClusterConnection, ClusterHttpTimeout, ClusterProxyProtocol,
    ClusterSettings, ClusterTcpTimeout, ClusterTimeout, ConnectionKeepalive, Dns, Http2,
    InvalidMessageAction, LookupFamily, PerEndpoint, PerRetry, Preconnect, ProxyProtocolVersion,
    Retry, RetryBudget, RetryOn, RetryTrigger, TcpKeepalive,
};
pub use convert::{RouteContext, TrafficConfig};
pub use fault::{
    Abort, AdmissionControl, Bandwidth, BandwidthLimit, BandwidthRate, BandwidthUnit, Delay,
    FaultInjection, GrpcCode, GrpcSuccess, HttpSuccess, ResponseBandwidth, ResponseTrailers,
    SuccessCriteria,
};
pub use health::{
    ActiveHealthCheck, CheckLog, CheckLogFile, CheckLogMatch, CheckLogSink, CheckLogSinkType,
    GrpcCheck, HealthCheck, HealthCheckType, HttpCheck, Overrides, PassiveHealthCheck, Payload,
    PayloadType, TcpCheck,
};
pub use limit::{
    ClientSelector, Cost, CostMetadata, CostSource, CostSpecifier, GlobalRateLimit, HeaderSelector,
    LimitMetadata, LimitValue, LocalRateLimitSpec, QuerySelector, RateLimit, RateLimitRule,
    RateLimitType, RateLimitUnit, SelectorKind, SourceKind, SourceSelector, XRateLimitHeaders,
};
pub use merge::merge;
pub use model::{
    BackendTrafficPolicySpec, Compression, CompressionOptions, CompressionType, Connect,
    HttpUpgrade, MergeType, RequestBuffer, RoutingType,
};
pub use response::{
    BodyType, CustomResponse, CustomResponseBody, CustomResponseHeaders, OverrideMatch,
    OverridePath, OverridePathType, OverrideRedirect, OverrideSource, ResponseHeaderMatch,
    ResponseOverride, Scheme, StatusCodeMatch, StatusCodeRange, StatusCodeType,
};
pub use telemetry::{
    CustomTag, CustomTagType, EnvironmentTag, HeaderTag, LiteralTag, Metrics, SpanName, Telemetry,
    Tracing,
};
