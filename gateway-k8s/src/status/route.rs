//! The status of routes: one entry for each parentRef that names a Gateway of ours.

use serde_json::{Value, json};

use super::Conditions;
use crate::api::reference::ParentReference;

/// The most parents that an API server takes.
const MAX_PARENTS: usize = 32;

/// The status of a route.
#[derive(Clone, Debug, Default)]
pub struct RouteStatus {
    /// One entry for each parentRef, in the order of the route.
    pub parents: Vec<Parent>,
}

/// How a route stands with one parent.
#[derive(Clone, Debug, Default)]
pub struct Parent {
    /// As the route has it; an API server has filled in group and kind.
    pub parent_ref: ParentReference,
    /// What is true of the route there.
    pub conditions: Conditions,
}

impl RouteStatus {
    /// The stanza.
    pub fn to_value(&self, generation: i64, controller_name: &str) -> Value {
        let parents = self.parents.iter().take(MAX_PARENTS).map(|parent| {
            json!({
                "parentRef": parent.parent_ref,
                "controllerName": controller_name,
                "conditions": parent.conditions.to_value(generation),
            })
        });
        json!({ "parents": parents.collect::<Vec<_>>() })
    }
}
