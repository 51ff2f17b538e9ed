//! Statuses of ListenerSets.

use serde_json::{Value, json};

use super::{Conditions, ListenerSetReason, ListenerStatus};

/// Status of a ListenerSet.
#[derive(Clone, Debug, Default)]
pub struct ListenerSetStatus {
    /// Conditions.
    pub conditions: Conditions<ListenerSetReason>,
    /// Statuses of the listeners, in order; empty if the Gateway does not accept the ListenerSet.
    pub listeners: Vec<ListenerStatus>,
}

impl ListenerSetStatus {
    /// The `status` field.
    pub fn to_value(&self, generation: i64) -> Value {
        let listeners = self.listeners.iter();
        json!({
            "conditions": self.conditions.to_value(generation),
            "listeners": listeners
                .map(|listener| listener.to_value(generation))
                .collect::<Vec<_>>(),
        })
    }
}
