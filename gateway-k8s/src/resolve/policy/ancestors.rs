//! Status of a policy for each ancestor.

use towergate_policy::check::FieldRemarks;

use super::super::gateway::GatewayState;
use super::super::indexed::ListenerSetIndex;
use crate::api::GATEWAY_GROUP;
use crate::api::reference::ParentReference;
use crate::status::{Condition, ConditionType, PolicyReason, PolicyStatus};

/// Reference to a Gateway, one of its ListenerSets, or one of their listeners as ancestor.
pub(super) fn ancestor(
    gateway: &GatewayState<'_>,
    set: Option<ListenerSetIndex>,
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

/// Sets `Warning` if the policy uses deprecated fields or unsupported fields, without which it is
/// applied.
pub(super) fn warn(
    status: &mut PolicyStatus,
    ancestors: &[ParentReference],
    remarks: &FieldRemarks,
) {
    let FieldRemarks {
        deprecated,
        ignored,
    } = remarks;
    let mut reasons = Vec::new();
    if !deprecated.is_empty() {
        reasons.push(PolicyReason::DeprecatedField);
    }
    if !ignored.is_empty() {
        reasons.push(PolicyReason::UnsupportedField);
    }
    let Some((reason, more_reasons)) = reasons.split_first() else {
        return;
    };
    let deprecated = deprecated
        .iter()
        .map(|old| format!("{} is deprecated; use {}", old.field, old.instead));
    let ignored = ignored.iter().map(|field| without_effect(field));
    let message = deprecated.chain(ignored).collect::<Vec<_>>().join("; ");
    for ancestor in ancestors {
        status.conditions(ancestor).insert(Condition {
            kind: ConditionType::Warning,
            status: true,
            reason: *reason,
            more_reasons: more_reasons.to_vec(),
            message: message.clone(),
        });
    }
}

/// Message about an unsupported field that is ignored.
pub(crate) fn without_effect(field: &str) -> String {
    format!("{field} is not supported; the policy is applied without it")
}
