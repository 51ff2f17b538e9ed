//! GRPCRoute.

use super::http_route::{HeaderModifier, HttpValueMatch, RequestMirror, SessionPersistence};
use super::reference::LocalObjectReference;
use super::route::{BackendRef, RouteSpec};

/// `spec` of a GRPCRoute.
pub type GrpcRouteSpec = RouteSpec<GrpcRouteRule>;

/// A backend of a GRPCRoute.
pub type GrpcBackendRef = BackendRef<GrpcRouteFilter>;

objects! {
    /// A rule of a GRPCRoute.
    pub struct GrpcRouteRule {
        /// Name, unique in the route.
        pub name: Option<String>,
        /// Matches, of which one must apply. Empty: the rule applies to every call.
        pub matches: Vec<GrpcRouteMatch>,
        /// Filters of the calls of the rule.
        pub filters: Vec<GrpcRouteFilter>,
        /// Backends of the calls of the rule.
        pub backend_refs: Vec<GrpcBackendRef>,
        /// Session persistence (GEP-1619).
        pub session_persistence: Option<Box<SessionPersistence>>,
    }

    /// A match of a call. All parts must apply.
    pub struct GrpcRouteMatch {
        /// Service and method.
        pub method: Option<GrpcMethodMatch>,
        /// Headers.
        pub headers: Vec<HttpValueMatch>,
    }

    /// Service and method of a call; at least one is set.
    pub struct GrpcMethodMatch {
        /// `Exact` (the default) or `RegularExpression`.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// The service.
        pub service: Option<String>,
        /// The method.
        pub method: Option<String>,
    }

    /// A filter of a rule or a backendRef of a GRPCRoute.
    pub struct GrpcRouteFilter {
        /// Type, which names the field that is set.
        #[serde(rename = "type")]
        pub kind: String,
        /// Settings for type `RequestHeaderModifier`.
        pub request_header_modifier: Option<HeaderModifier>,
        /// Settings for type `ResponseHeaderModifier`.
        pub response_header_modifier: Option<HeaderModifier>,
        /// Settings for type `RequestMirror`.
        pub request_mirror: Option<RequestMirror>,
        /// `ExtensionRef`: an implementation-specific filter.
        pub extension_ref: Option<LocalObjectReference>,
    }
}
