//! What the kinds of routes have in common.

use serde::{Deserialize, Serialize};

use super::reference::{BackendObjectReference, ParentReference};

objects! {
    /// `spec` of a route with rules of this kind.
    #[serde(bound(
        deserialize = "Rule: Default + Deserialize<'de>",
        serialize = "Rule: PartialEq + Serialize"
    ))]
    pub struct RouteSpec<Rule> {
        /// Where it attaches.
        pub parent_refs: Vec<ParentReference>,
        /// Whether it attaches to default Gateways (`All`, `None`).
        pub use_default_gateways: Option<String>,
        /// Host names; empty: those of the listener.
        pub hostnames: Vec<String>,
        /// Rules.
        pub rules: Vec<Rule>,
    }

    /// A backend with its weight, and filters of this kind.
    #[serde(bound(
        deserialize = "Filter: Default + Deserialize<'de>",
        serialize = "Filter: PartialEq + Serialize"
    ))]
    pub struct BackendRef<Filter> {
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
        /// For what goes to this backend.
        pub filters: Vec<Filter>,
    }
}

impl<Filter> BackendRef<Filter> {
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
