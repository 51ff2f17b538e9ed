//! The status of ListenerSets.

use serde_json::{Value, json};

use super::{Conditions, ListenerStatus};

/// The status of a ListenerSet.
#[derive(Clone, Debug, Default)]
pub struct ListenerSetStatus {
    /// What is true of it.
    pub conditions: Conditions,
    /// Its listeners, in its order; none if its Gateway does not take it.
    pub listeners: Vec<ListenerStatus>,
}

impl ListenerSetStatus {
    /// The stanza.
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
