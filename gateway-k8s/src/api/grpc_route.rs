//! GRPCRoute.

use super::http_route::{HeaderModifier, HttpValueMatch, RequestMirror, SessionPersistence};
use super::reference::{BackendObjectReference, LocalObjectReference, ParentReference};

objects! {
    /// `spec` of a GRPCRoute.
    pub struct GrpcRouteSpec {
        /// Where it attaches.
        pub parent_refs: Vec<ParentReference>,
        /// Whether it attaches to default Gateways (`All`, `None`).
        pub use_default_gateways: Option<String>,
        /// Host names; empty: those of the listener.
        pub hostnames: Vec<String>,
        /// Rules.
        pub rules: Vec<GrpcRouteRule>,
    }

    /// A rule of a GRPCRoute.
    pub struct GrpcRouteRule {
        /// Its name, unique in the route.
        pub name: Option<String>,
        /// Any of these must hold; empty: every call.
        pub matches: Vec<GrpcRouteMatch>,
        /// What happens to its calls.
        pub filters: Vec<GrpcRouteFilter>,
        /// Where its calls go.
        pub backend_refs: Vec<GrpcBackendRef>,
        /// Session persistence (GEP-1619).
        pub session_persistence: Option<SessionPersistence>,
    }

    /// What a call must be like; all parts must hold.
    pub struct GrpcRouteMatch {
        /// Service and method.
        pub method: Option<GrpcMethodMatch>,
        /// Headers.
        pub headers: Vec<HttpValueMatch>,
    }

    /// Service and method of a call; at least one of both is given.
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
        /// Which of the following it is.
        #[serde(rename = "type")]
        pub kind: String,
        /// `RequestHeaderModifier`.
        pub request_header_modifier: Option<HeaderModifier>,
        /// `ResponseHeaderModifier`.
        pub response_header_modifier: Option<HeaderModifier>,
        /// `RequestMirror`.
        pub request_mirror: Option<RequestMirror>,
        /// `ExtensionRef`: a filter of the implementation.
        pub extension_ref: Option<LocalObjectReference>,
    }

    /// A backend with its weight and filters.
    pub struct GrpcBackendRef {
        /// Missing: the core group.
        pub group: Option<String>,
        /// Missing: `Service`.
        pub kind: Option<String>,
        /// Its name.
        pub name: String,
        /// Missing: the route's namespace.
        pub namespace: Option<String>,
        /// The port of the Service.
        pub port: Option<i32>,
        /// Its share; missing: 1.
        pub weight: Option<i32>,
        /// For calls that go to this backend.
        pub filters: Vec<GrpcRouteFilter>,
    }
}

impl GrpcBackendRef {
    /// The object that it names.
    pub fn object(&self) -> BackendObjectReference {
        BackendObjectReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}
