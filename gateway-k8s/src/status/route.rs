//! Statuses of routes: one entry for each parentRef to a Gateway of this controller.

use serde_json::{Value, json};

use super::{Conditions, RouteReason};
use crate::api::reference::ParentReference;

/// Maximum number of parents in a CRD.
const MAX_PARENTS: usize = 32;

/// Status of a route.
#[derive(Clone, Debug, Default)]
pub struct RouteStatus {
    /// One entry for each parentRef, in order.
    pub parents: Vec<Parent>,
}

/// Status of a route for one parent.
#[derive(Clone, Debug, Default)]
pub struct Parent {
    /// The parentRef as written. In a cluster, the API server has set group and kind.
    pub parent_ref: ParentReference,
    /// Conditions of the route for this parent.
    pub conditions: Conditions<RouteReason>,
}

impl RouteStatus {
    /// The `status` field.
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
