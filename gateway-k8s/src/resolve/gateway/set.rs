//! ListenerSets: listeners that others add to a Gateway (GEP-1713).
//!
//! The Gateway says from which namespaces it takes them. Their listeners stand behind its own, the
//! oldest ListenerSet first, and lose against those before them.

use std::collections::HashMap;

use super::super::report::{Report, Subject};
use super::super::selector::Selector;
use super::super::world::{World, by_age};
use super::listener::{Allowed, ListenerState};
use super::{listener_status, report_listener};
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::GatewaySpec;
use crate::api::listener_set::ListenerSetSpec;
use crate::objects::{Object, ObjectKey};
use crate::status::ListenerSetStatus;

/// A ListenerSet of one of our Gateways.
#[derive(Debug)]
pub(crate) struct SetState<'a> {
    pub(crate) object: &'a Object<ListenerSetSpec>,
    /// Why the Gateway does not take it.
    refused: Option<Refused>,
}

/// Why a Gateway does not take a ListenerSet.
#[derive(Debug)]
struct Refused {
    reason: &'static str,
    message: String,
}

/// The ListenerSets of each Gateway, the oldest first.
pub(super) fn by_gateway<'a>(
    world: &World<'a>,
) -> HashMap<ObjectKey, Vec<&'a Object<ListenerSetSpec>>> {
    let mut sets: HashMap<_, Vec<_>> = HashMap::new();
    for set in by_age(world.objects.listener_sets.values()) {
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

impl<'a> SetState<'a> {
    /// Decides whether a Gateway takes the ListenerSet.
    pub(super) fn new(
        world: &World<'_>,
        gateway: &Object<GatewaySpec>,
        object: &'a Object<ListenerSetSpec>,
    ) -> Self {
        let namespace = &object.meta.namespace;
        let takes = allowed(gateway).takes(namespace, &world.labels(namespace));
        let refused = (!takes).then(|| Refused {
            reason: "NotAllowed",
            message: format!(
                "Gateway {} takes no ListenerSets from namespace {namespace}.",
                gateway.key()
            ),
        });
        Self { object, refused }
    }

    /// A ListenerSet of a Gateway that cannot be served at all.
    pub(super) fn of_refused(
        gateway: &Object<GatewaySpec>,
        object: &'a Object<ListenerSetSpec>,
    ) -> Self {
        let refused = Refused {
            reason: "ParentNotAccepted",
            message: format!("Gateway {} is not accepted.", gateway.key()),
        };
        Self {
            object,
            refused: Some(refused),
        }
    }

    /// Whether the Gateway takes it.
    pub(crate) fn attached(&self) -> bool {
        self.refused.is_none()
    }

    /// Its status. `listeners` are its own.
    pub(crate) fn status(&self, listeners: &[&ListenerState<'_>]) -> ListenerSetStatus {
        let mut status = ListenerSetStatus {
            listeners: listeners.iter().map(|one| listener_status(one)).collect(),
            ..ListenerSetStatus::default()
        };
        if let Some(Refused { reason, message }) = &self.refused {
            for kind in ["Accepted", "Programmed"] {
                status.conditions.set(kind, false, *reason, &**message);
            }
            return status;
        }
        let accepted = accepted(listeners);
        let (state, reason, message) = match accepted {
            0 => (false, "ListenersNotValid", "No listener is valid."),
            n if n < listeners.len() => {
                (true, "ListenersNotValid", "Some listeners are not valid.")
            }
            _ => (true, "Accepted", "Every listener is accepted."),
        };
        status.conditions.set("Accepted", state, reason, message);
        let ready = listeners.iter().filter(|listener| listener.ready()).count();
        let message = format!("{ready} of {} listeners are programmed.", listeners.len());
        let reason = ["ListenersNotValid", "Programmed"][usize::from(ready > 0)];
        status
            .conditions
            .set("Programmed", ready > 0, reason, message);
        status
    }

    /// Whether one of its listeners can be served.
    pub(super) fn counts(&self, listeners: &[&ListenerState<'_>]) -> bool {
        self.attached() && accepted(listeners) > 0
    }

    /// Diagnostics for what is not served.
    pub(super) fn report(&self, listeners: &[&ListenerState<'_>], report: &mut Report) {
        let subject = Subject::new("ListenerSet", self.object);
        if let Some(Refused { reason, message }) = &self.refused {
            let help = match *reason {
                "NotAllowed" => "Let allowedListeners of the Gateway take this namespace.",
                _ => "Correct the Gateway first.",
            };
            report.error("listener-set", &subject, "spec.parentRef", &**message, help);
        }
        for listener in listeners {
            report_listener(listener, report, &subject);
        }
    }
}

fn accepted(listeners: &[&ListenerState<'_>]) -> usize {
    let accepted = listeners.iter();
    accepted
        .filter(|listener| listener.conditions.says("Accepted", true))
        .count()
}

/// The namespaces from which a Gateway takes ListenerSets: none, unless it says so. What cannot be
/// understood lets nobody in.
fn allowed(gateway: &Object<GatewaySpec>) -> Allowed {
    let listeners = gateway.spec.allowed_listeners.as_ref();
    let Some(namespaces) = listeners.and_then(|allowed| allowed.namespaces.as_ref()) else {
        return Allowed::None;
    };
    let selector = namespaces.selector.as_ref().map(Selector::parse);
    match (namespaces.from.as_deref(), selector) {
        (Some("Same"), _) => Allowed::Same(gateway.meta.namespace.clone()),
        (Some("All"), _) => Allowed::All,
        (Some("Selector"), Some(Ok(selector))) => Allowed::Selector(selector),
        _ => Allowed::None,
    }
}

/// Reports ListenerSets whose Gateway is not there.
pub(super) fn orphans(world: &World<'_>, report: &mut Report) {
    for set in world.objects.listener_sets.values() {
        let (message, help) = match parent(set) {
            Some(gateway) if world.objects.gateways.contains_key(&gateway) => continue,
            Some(gateway) => (
                format!("There is no Gateway {gateway}: the listeners are not served."),
                "Name a Gateway that is there, with its namespace.",
            ),
            None => (
                "ListenerSets add listeners to Gateways only.".to_owned(),
                "Name a Gateway.",
            ),
        };
        let subject = Subject::new("ListenerSet", set);
        report.error(
            "parent-not-found",
            &subject,
            "spec.parentRef",
            message,
            help,
        );
    }
}
