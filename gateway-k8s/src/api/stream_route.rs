//! TLSRoute, TCPRoute and UDPRoute: routes of connections and datagrams.

use super::reference::{BackendObjectReference, ParentReference};
use super::route::RouteSpec;

/// `spec` of a TLSRoute. Its host names are server names (SNI).
pub type TlsRouteSpec = RouteSpec<StreamRouteRule>;

objects! {
    /// `spec` of a TCPRoute or UDPRoute.
    pub struct PortRouteSpec {
        /// Where it attaches.
        pub parent_refs: Vec<ParentReference>,
        /// Whether it attaches to default Gateways (`All`, `None`).
        pub use_default_gateways: Option<String>,
        /// Rules, of which there is one.
        pub rules: Vec<StreamRouteRule>,
    }

    /// A rule of a TLSRoute, TCPRoute or UDPRoute.
    pub struct StreamRouteRule {
        /// Its name.
        pub name: Option<String>,
        /// Where connections or datagrams go.
        pub backend_refs: Vec<StreamBackendRef>,
    }

    /// A backend with its weight (`BackendRef`).
    pub struct StreamBackendRef {
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
    }
}

impl StreamBackendRef {
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
