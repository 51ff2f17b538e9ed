//! What the status of a policy says about each ancestor.

use towergate_policy::common::Deprecated;

use super::super::gateway::GatewayState;
use crate::api::GATEWAY_GROUP;
use crate::api::reference::ParentReference;
use crate::status::PolicyStatus;

/// A Gateway or one of its ListenerSets, or a listener of it, as the status of a policy names it.
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

/// The policy is not in force.
pub(super) fn refuse(
    status: &mut PolicyStatus,
    ancestors: &[ParentReference],
    reason: &'static str,
    message: &str,
) {
    for ancestor in ancestors {
        status
            .conditions(ancestor)
            .set("Accepted", false, reason, message);
    }
}

/// The policy is in force, where nothing else is stated yet.
pub(super) fn accept(status: &mut PolicyStatus, ancestors: &[ParentReference]) {
    for ancestor in ancestors {
        let conditions = status.conditions(ancestor);
        if conditions.find("Accepted").is_none() {
            conditions.set("Accepted", true, "Accepted", "The policy is in force.");
        }
    }
}

/// The policy uses fields that will go away.
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
        .map(|old| format!("{} is deprecated, use {}", old.field, old.instead))
        .collect();
    for ancestor in ancestors {
        let message = format!("{}.", fields.join("; "));
        status
            .conditions(ancestor)
            .set("Warning", true, "DeprecatedField", message);
    }
}
