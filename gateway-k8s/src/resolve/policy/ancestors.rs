//! Status of a policy for each ancestor.

use towergate_policy::check::FieldRemarks;
use towergate_policy::envoy_proxy::EnvoyProxySpec;

use super::super::gateway::GatewayState;
use super::super::indexed::ListenerSetIndex;
use crate::api::GATEWAY_GROUP;
use crate::api::reference::ParentReference;
use crate::objects::{Object, Objects};
use crate::status::{ConditionType, PolicyReason, PolicyStatus};

/// Settings of a BackendTrafficPolicy for traces.
const ROUTE_TRACING: &str = "spec.telemetry.tracing";

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

/// Sets `Accepted` to true if it is not set.
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

/// Sets `Warning` if the policy uses deprecated fields, or unsupported fields that are ignored. The reason
/// for unsupported fields is `unsupported`; if the policy has both, it is `Warnings`, as in Envoy Gateway.
pub(super) fn warn(
    status: &mut PolicyStatus,
    ancestors: &[ParentReference],
    remarks: &FieldRemarks,
    unsupported: PolicyReason,
) {
    let FieldRemarks {
        deprecated,
        ignored,
    } = remarks;
    let reason = match (deprecated.is_empty(), ignored.is_empty()) {
        (true, true) => return,
        (false, true) => PolicyReason::DeprecatedField,
        (true, false) => unsupported,
        (false, false) => PolicyReason::Warnings,
    };
    let deprecated = deprecated
        .iter()
        .map(|old| format!("{} is deprecated; use {}", old.field, old.instead));
    let ignored = ignored.iter().map(|field| without_effect(field));
    let message = deprecated.chain(ignored).collect::<Vec<_>>().join("; ");
    for ancestor in ancestors {
        let conditions = status.conditions(ancestor);
        conditions.set(ConditionType::Warning, true, reason, message.clone());
    }
}

/// The remarks that apply in a configuration with these objects. A remark about traces of a policy applies
/// only if an EnvoyProxy turns tracing on: otherwise the settings have no effect in Envoy Gateway either.
pub(crate) fn applicable(mut remarks: FieldRemarks, objects: &Objects) -> FieldRemarks {
    let traced = |proxy: &Object<EnvoyProxySpec>| {
        let telemetry = proxy.spec.telemetry.as_ref();
        telemetry.is_some_and(|telemetry| telemetry.tracing.is_some())
    };
    if !remarks.ignored.is_empty() && !objects.envoy_proxies.values().any(traced) {
        remarks.ignored.retain(|field| field != ROUTE_TRACING);
    }
    remarks
}

/// Message about an unsupported field that is ignored.
pub(crate) fn without_effect(field: &str) -> String {
    format!("{field} is not supported; the policy is applied without it")
}
