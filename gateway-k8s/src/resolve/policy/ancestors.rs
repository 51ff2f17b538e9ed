//! Status of a policy for each ancestor.

use towergate_policy::common::Deprecated;

use super::super::gateway::GatewayState;
use crate::api::GATEWAY_GROUP;
use crate::api::reference::ParentReference;
use crate::status::{ConditionType, PolicyReason, PolicyStatus};

/// Reference to a Gateway, one of its ListenerSets, or one of their listeners as ancestor.
pub(super) fn ancestor(
    gateway: &GatewayState<'_>,
    set: Option<usize>,
    section: Option<&str>,
) -> ParentReference {
    let (kind, key) = match set {
        Some(set) => ("ListenerSet", gateway.sets[set].object.key()),
        None => ("Gateway", gateway.object.key()),
    };
    ParentReference {
        group: Some(GATEWAY_GROUP.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(key.namespace),
        name: key.name,
        section_name: section.map(str::to_owned),
        port: None,
    }
}

/// Sets `Accepted` to false.
pub(super) fn refuse(
    status: &mut PolicyStatus,
    ancestors: &[ParentReference],
    reason: PolicyReason,
    message: &str,
) {
    for ancestor in ancestors {
        status
            .conditions(ancestor)
            .set(ConditionType::Accepted, false, reason, message);
    }
}

/// Sets `Accepted` to true, unless it is set.
pub(super) fn accept(status: &mut PolicyStatus, ancestors: &[ParentReference]) {
    for ancestor in ancestors {
        let conditions = status.conditions(ancestor);
        if conditions.find(ConditionType::Accepted).is_none() {
            conditions.set(
                ConditionType::Accepted,
                true,
                PolicyReason::Accepted,
                "the policy is in force",
            );
        }
    }
}

/// Sets `Warning` if the policy uses deprecated fields.
pub(super) fn warn(
    status: &mut PolicyStatus,
    ancestors: &[ParentReference],
    deprecated: &[Deprecated],
) {
    if deprecated.is_empty() {
        return;
    }
    let fields = deprecated.iter();
    let fields: Vec<_> = fields
        .map(|old| format!("{} is deprecated; use {}", old.field, old.instead))
        .collect();
    for ancestor in ancestors {
        let message = fields.join("; ");
        status.conditions(ancestor).set(
            ConditionType::Warning,
            true,
            PolicyReason::DeprecatedField,
            message,
        );
    }
}
