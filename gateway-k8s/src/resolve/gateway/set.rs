//! ListenerSets: listeners that other namespaces add to a Gateway (GEP-1713).
//!
//! `spec.allowedListeners` of the Gateway selects the namespaces. Listeners of the Gateway take precedence
//! over those of ListenerSets, and an older ListenerSet takes precedence over a younger one.

use std::collections::HashMap;

use super::super::object_index::{ObjectIndex, by_age};
use super::super::report::{Report, Subject};
use super::super::selector::Selector;
use super::finding::report_listener;
use super::listener::{AllowedNamespaces, ListenerState};
use super::listener_status;
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::GatewaySpec;
use crate::api::listener_set::ListenerSetSpec;
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey};
use crate::status::{ConditionType, ListenerSetReason, ListenerSetStatus};

/// A ListenerSet of a Gateway of this controller.
#[derive(Debug)]
pub(crate) struct ListenerSetState<'a> {
    pub(crate) object: &'a Object<ListenerSetSpec>,
    /// The reason for which the Gateway does not accept the ListenerSet; `None`: it is accepted.
    refused: Option<NotAccepted>,
}

/// Reason and message for a ListenerSet that is not accepted.
#[derive(Debug)]
struct NotAccepted {
    reason: ListenerSetReason,
    message: String,
}

/// The ListenerSets of each Gateway, the oldest first.
pub(super) fn by_gateway<'a>(
    index: &ObjectIndex<'a>,
) -> HashMap<ObjectKey, Vec<&'a Object<ListenerSetSpec>>> {
    let mut sets: HashMap<_, Vec<_>> = HashMap::new();
    for set in by_age(index.objects.listener_sets.values()) {
        if let Some(gateway) = parent(set) {
            sets.entry(gateway).or_default().push(set);
        }
    }
    sets
}

/// The Gateway that a ListenerSet names.
pub(crate) fn parent(set: &Object<ListenerSetSpec>) -> Option<ObjectKey> {
    let parent = &set.spec.parent_ref;
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    let namespace = parent.namespace.as_deref().filter(|name| !name.is_empty());
    ((group, kind) == (GATEWAY_GROUP, "Gateway")).then(|| {
        let namespace = namespace.unwrap_or(&set.meta.namespace);
        ObjectKey::new(namespace, &*parent.name)
    })
}

impl<'a> ListenerSetState<'a> {
    /// Decides whether the Gateway accepts the ListenerSet.
    pub(super) fn new(
        index: &ObjectIndex<'_>,
        gateway: &Object<GatewaySpec>,
        object: &'a Object<ListenerSetSpec>,
    ) -> Self {
        let namespace = &object.meta.namespace;
        let takes = allowed(gateway).takes(namespace, &index.labels(namespace));
        let refused = (!takes).then(|| NotAccepted {
            reason: ListenerSetReason::NotAllowed,
            message: format!(
                "Gateway {} does not accept ListenerSets from namespace {namespace}",
                gateway.key()
            ),
        });
        Self { object, refused }
    }

    /// A ListenerSet whose Gateway is not accepted.
    pub(super) fn of_refused(
        gateway: &Object<GatewaySpec>,
        object: &'a Object<ListenerSetSpec>,
    ) -> Self {
        let refused = NotAccepted {
            reason: ListenerSetReason::ParentNotAccepted,
            message: format!("Gateway {} is not accepted", gateway.key()),
        };
        Self {
            object,
            refused: Some(refused),
        }
    }

    /// Whether the Gateway accepts the ListenerSet.
    pub(crate) fn attached(&self) -> bool {
        self.refused.is_none()
    }

    /// The status of the ListenerSet, whose listeners are `listeners`.
    pub(crate) fn status(&self, listeners: &[&ListenerState<'_>]) -> ListenerSetStatus {
        let mut status = ListenerSetStatus {
            listeners: listeners.iter().map(|one| listener_status(one)).collect(),
            ..ListenerSetStatus::default()
        };
        if let Some(NotAccepted { reason, message }) = &self.refused {
            for kind in [ConditionType::Accepted, ConditionType::Programmed] {
                status.conditions.set(kind, false, *reason, &**message);
            }
            return status;
        }
        let accepted = accepted(listeners);
        let (state, reason, message) = match accepted {
            0 => (
                false,
                ListenerSetReason::ListenersNotValid,
                "no listener is valid",
            ),
            n if n < listeners.len() => (
                true,
                ListenerSetReason::ListenersNotValid,
                "some listeners are invalid",
            ),
            _ => (
                true,
                ListenerSetReason::Accepted,
                "every listener is accepted",
            ),
        };
        status
            .conditions
            .set(ConditionType::Accepted, state, reason, message);
        let ready = listeners.iter().filter(|listener| listener.ready()).count();
        let message = format!("{ready} of {} listeners are programmed", listeners.len());
        let reason = match ready {
            0 => ListenerSetReason::ListenersNotValid,
            _ => ListenerSetReason::Programmed,
        };
        status
            .conditions
            .set(ConditionType::Programmed, ready > 0, reason, message);
        status
    }

    /// Whether at least one listener of the ListenerSet is served.
    pub(super) fn counts(&self, listeners: &[&ListenerState<'_>]) -> bool {
        self.attached() && accepted(listeners) > 0
    }

    /// Reports why the ListenerSet or its listeners are not served.
    pub(super) fn report(&self, listeners: &[&ListenerState<'_>], report: &mut Report) {
        let subject = Subject::new("ListenerSet", self.object);
        if let Some(NotAccepted { reason, message }) = &self.refused {
            let help = match reason {
                ListenerSetReason::NotAllowed => {
                    "allow the namespace in spec.allowedListeners of the Gateway"
                }
                ListenerSetReason::Accepted
                | ListenerSetReason::ListenersNotValid
                | ListenerSetReason::ParentNotAccepted
                | ListenerSetReason::Programmed => "correct the Gateway first",
            };
            report.error(
                FindingCode::ListenerSet,
                &subject,
                "spec.parentRef",
                &**message,
                help,
            );
        }
        for listener in listeners {
            report_listener(listener, report, &subject);
        }
    }
}

fn accepted(listeners: &[&ListenerState<'_>]) -> usize {
    let accepted = listeners.iter();
    accepted
        .filter(|listener| listener.conditions.is_true(ConditionType::Accepted))
        .count()
}

/// The namespaces whose ListenerSets a Gateway accepts: none by default, and none if the setting is
/// invalid.
fn allowed(gateway: &Object<GatewaySpec>) -> AllowedNamespaces {
    let listeners = gateway.spec.allowed_listeners.as_ref();
    let Some(namespaces) = listeners.and_then(|allowed| allowed.namespaces.as_ref()) else {
        return AllowedNamespaces::None;
    };
    let selector = namespaces.selector.as_ref().map(Selector::parse);
    match (namespaces.from.as_deref(), selector) {
        (Some("Same"), _) => AllowedNamespaces::Same(gateway.meta.namespace.clone()),
        (Some("All"), _) => AllowedNamespaces::All,
        (Some("Selector"), Some(Ok(selector))) => AllowedNamespaces::Selector(selector),
        _ => AllowedNamespaces::None,
    }
}

/// Reports ListenerSets whose Gateway does not exist.
pub(super) fn orphans(index: &ObjectIndex<'_>, report: &mut Report) {
    for set in index.objects.listener_sets.values() {
        let (message, help) = match parent(set) {
            Some(gateway) if index.objects.gateways.contains_key(&gateway) => continue,
            Some(gateway) => (
                format!("Gateway {gateway} not found; the listeners are not served"),
                "correct the name and namespace of the Gateway",
            ),
            None => (
                "the parent of a ListenerSet must be a Gateway".to_owned(),
                "reference a Gateway",
            ),
        };
        let subject = Subject::new("ListenerSet", set);
        report.error(
            FindingCode::ParentNotFound,
            &subject,
            "spec.parentRef",
            message,
            help,
        );
    }
}
