//! The status of policies: one entry for each Gateway (or listener) through which a policy is in force.

use serde_json::{Value, json};

use super::Conditions;
use crate::api::reference::ParentReference;

/// The most ancestors that an API server takes.
const MAX_ANCESTORS: usize = 16;

/// The status of a policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyStatus {
    /// Entries, one for each ancestor.
    pub ancestors: Vec<Ancestor>,
}

/// How a policy stands with one ancestor.
#[derive(Clone, Debug, Default)]
pub struct Ancestor {
    /// A Gateway, or one of its listeners.
    pub ancestor_ref: ParentReference,
    /// What is true of the policy there.
    pub conditions: Conditions,
}

impl PolicyStatus {
    /// What is stated about an ancestor; a new entry if there is none.
    pub fn conditions(&mut self, ancestor: &ParentReference) -> &mut Conditions {
        let found = self
            .ancestors
            .iter()
            .position(|entry| entry.ancestor_ref == *ancestor);
        let at = found.unwrap_or_else(|| {
            self.ancestors.push(Ancestor {
                ancestor_ref: ancestor.clone(),
                conditions: Conditions::default(),
            });
            self.ancestors.len() - 1
        });
        &mut self.ancestors[at].conditions
    }

    /// Keeps as many entries as an API server takes: those with bad news first, and the last one says
    /// that there are more.
    pub fn truncate(&mut self) {
        if self.ancestors.len() <= MAX_ANCESTORS {
            return;
        }
        self.ancestors.sort_by(|a, b| {
            let order = |entry: &Ancestor| {
                let parent = &entry.ancestor_ref;
                (entry.rank(), parent.namespace.clone(), parent.name.clone())
            };
            order(a).cmp(&order(b))
        });
        self.ancestors.truncate(MAX_ANCESTORS);
        self.ancestors[MAX_ANCESTORS - 1].conditions.set(
            "Aggregated",
            true,
            "Aggregated",
            "There are more ancestors than the status can hold (16); the others are left out.",
        );
    }

    /// The stanza.
    pub fn to_value(&self, generation: i64, controller_name: &str) -> Value {
        let ancestors = self.ancestors.iter().map(|entry| {
            json!({
                "ancestorRef": entry.ancestor_ref,
                "controllerName": controller_name,
                "conditions": entry.conditions.to_value(generation),
            })
        });
        json!({ "ancestors": ancestors.collect::<Vec<_>>() })
    }
}

impl Ancestor {
    /// Bad news first.
    fn rank(&self) -> u8 {
        match (
            self.conditions.says("Accepted", false),
            self.conditions.says("Overridden", true),
        ) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(name: String) -> ParentReference {
        ParentReference {
            name,
            ..Default::default()
        }
    }

    #[test]
    fn the_seventeenth_ancestor_is_left_out_and_bad_news_stay() {
        let mut status = PolicyStatus::default();
        for i in 0..20 {
            let conditions = status.conditions(&gateway(format!("gateway-{i:02}")));
            conditions.set("Accepted", i != 19, "Accepted", "");
        }

        status.truncate();

        assert_eq!(status.ancestors.len(), 16);
        assert_eq!(status.ancestors[0].ancestor_ref.name, "gateway-19");
        assert!(status.ancestors[15].conditions.says("Aggregated", true));
        assert!(status.ancestors[14].conditions.find("Aggregated").is_none());
    }
}
