//! Statuses of policies: one entry for each Gateway or listener to which a policy applies.

use serde_json::{Value, json};

use super::{ConditionType, Conditions, PolicyReason};
use crate::api::reference::ParentReference;

/// Maximum number of ancestors in a CRD.
const MAX_ANCESTORS: usize = 16;

/// Status of a policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyStatus {
    /// One entry for each ancestor.
    pub ancestors: Vec<Ancestor>,
}

/// Status of a policy for one ancestor.
#[derive(Clone, Debug, Default)]
pub struct Ancestor {
    /// A Gateway, ListenerSet or listener.
    pub ancestor_ref: ParentReference,
    /// Conditions of the policy for this ancestor.
    pub conditions: Conditions<PolicyReason>,
}

impl PolicyStatus {
    /// The conditions of an ancestor. Adds an entry for the ancestor if it has none.
    pub fn conditions(&mut self, ancestor: &ParentReference) -> &mut Conditions<PolicyReason> {
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

    /// Keeps as many entries as the CRD permits, those with errors first. If entries are omitted, the last
    /// remaining entry gets the condition `Aggregated`.
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
            ConditionType::Aggregated,
            true,
            PolicyReason::Aggregated,
            format!("the policy has more ancestors than a status can list ({MAX_ANCESTORS}); the remaining ancestors are omitted"),
        );
    }

    /// The `status` field.
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
    /// Sort key: errors first.
    fn rank(&self) -> u8 {
        match (
            self.conditions.is_false(ConditionType::Accepted),
            self.conditions.is_true(ConditionType::Overridden),
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
    fn the_seventeenth_ancestor_is_omitted_and_errors_are_kept() {
        let mut status = PolicyStatus::default();
        for i in 0..20 {
            let conditions = status.conditions(&gateway(format!("gateway-{i:02}")));
            conditions.set(ConditionType::Accepted, i != 19, PolicyReason::Accepted, "");
        }

        status.truncate();

        assert_eq!(status.ancestors.len(), 16);
        assert_eq!(status.ancestors[0].ancestor_ref.name, "gateway-19");
        assert!(
            status.ancestors[15]
                .conditions
                .is_true(ConditionType::Aggregated)
        );
        assert!(
            status.ancestors[14]
                .conditions
                .find(ConditionType::Aggregated)
                .is_none()
        );
    }
}
