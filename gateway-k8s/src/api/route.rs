//! Types shared by all kinds of routes.

use serde::{Deserialize, Serialize};

use super::reference::{BackendObjectReference, ParentReference};

objects! {
    /// `spec` of a route with rules of type `R`.
    #[serde(bound(
        deserialize = "Rule: Default + Deserialize<'de>",
        serialize = "Rule: PartialEq + Serialize"
    ))]
    pub struct RouteSpec<Rule> {
        /// Gateways and ListenerSets to which the route attaches.
        pub parent_refs: Vec<ParentReference>,
        /// Whether the route attaches to default Gateways (`All`, `None`).
        pub use_default_gateways: Option<String>,
        /// Hostnames; empty: the hostnames of the listener.
        pub hostnames: Vec<String>,
        /// Rules.
        pub rules: Vec<Rule>,
    }

    /// A backend with its weight and filters of type `F`.
    #[serde(bound(
        deserialize = "Filter: Default + Deserialize<'de>",
        serialize = "Filter: PartialEq + Serialize"
    ))]
    pub struct BackendRef<Filter> {
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
        /// Filters for the requests to this backend.
        pub filters: Vec<Filter>,
    }
}

impl<Filter> BackendRef<Filter> {
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
