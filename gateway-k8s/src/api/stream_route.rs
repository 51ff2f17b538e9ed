//! TLSRoute, TCPRoute and UDPRoute: routes of connections and datagrams.

use super::reference::{BackendObjectReference, ParentReference};
use super::route::RouteSpec;

/// `spec` of a TLSRoute. Its hostnames are TLS server names (SNI).
pub type TlsRouteSpec = RouteSpec<StreamRouteRule>;

objects! {
    /// `spec` of a TCPRoute or UDPRoute.
    pub struct PortRouteSpec {
        /// Gateways and ListenerSets to which the route attaches.
        pub parent_refs: Vec<ParentReference>,
        /// Whether the route attaches to default Gateways (`All`, `None`).
        pub use_default_gateways: Option<String>,
        /// Rules. Only the first is supported.
        pub rules: Vec<StreamRouteRule>,
    }

    /// A rule of a TLSRoute, TCPRoute or UDPRoute.
    pub struct StreamRouteRule {
        /// Name.
        pub name: Option<String>,
        /// Backends of the connections or datagrams of the rule.
        pub backend_refs: Vec<StreamBackendRef>,
    }

    /// A backend with its weight (`BackendRef`).
    pub struct StreamBackendRef {
        /// API group. Default: the core group.
        pub group: Option<String>,
        /// Kind. Default: `Service`.
        pub kind: Option<String>,
        /// Name.
        pub name: String,
        /// Namespace. Default: that of the route.
        pub namespace: Option<String>,
        /// Port of the Service.
        pub port: Option<i32>,
        /// Share of the traffic. Default: 1.
        pub weight: Option<i32>,
    }
}

impl StreamBackendRef {
    /// The referenced object.
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
