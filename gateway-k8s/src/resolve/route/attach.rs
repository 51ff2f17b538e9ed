//! Where a route attaches: its parentRefs, the listeners that take it, the host names they share.

use std::collections::BTreeSet;

use towergate_policy::SchemaViolation;
use towergate_tls::NamePattern;

use super::super::gateway::{GatewayState, Gateways, ListenerState};
use super::super::lint;
use super::super::report::Report;
use super::super::world::World;
use super::{Faults, RouteRef};
use crate::api::GATEWAY_GROUP;
use crate::api::reference::ParentReference;
use crate::decode::is_of_every_rule;
use crate::objects::ObjectKey;
use crate::status::Conditions;

/// How a route stands with one parent of ours.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// The Gateway, in the list of ours.
    pub(crate) gateway: usize,
    /// The ListenerSet that the parentRef names, among those of the Gateway; `None`: it names the
    /// Gateway itself.
    pub(crate) set: Option<usize>,
    /// Listeners that take the route, with the host names that both take.
    pub(crate) listeners: Vec<(usize, Vec<NamePattern>)>,
    /// As the route has it; an API server has filled in group and kind.
    pub(crate) parent: ParentReference,
    /// What is true of the route there.
    pub(crate) conditions: Conditions,
}

/// The parents of ours that a route names. A parent that nobody knows gets no entry: it may be
/// somebody else's.
pub(super) fn find(
    world: &World<'_>,
    gateways: &Gateways<'_>,
    route: RouteRef<'_>,
    report: &mut Report,
) -> Vec<Attachment> {
    let mut seen = BTreeSet::new();
    let mut attachments = Vec::new();
    for (at, parent) in route.parent_refs().iter().enumerate() {
        let Some((gateway, set)) = named(gateways, route, parent) else {
            continue;
        };
        let section = parent.section_name.clone().unwrap_or_default();
        if seen.insert((gateway, set, section, parent.port)) {
            let state = &gateways.list[gateway];
            let mut attachment = Attachment::new(gateway, set, parent);
            attachment.choose(world, state, route, at, report);
            attachments.push(attachment);
        }
    }
    attachments
}

/// The Gateway of ours that a parentRef names, or that of the ListenerSet which it names. A ListenerSet
/// that its Gateway does not take is nobody's.
fn named(
    gateways: &Gateways<'_>,
    route: RouteRef<'_>,
    parent: &ParentReference,
) -> Option<(usize, Option<usize>)> {
    let own = &route.meta().namespace;
    let key = ObjectKey::new(parent.namespace.as_ref().unwrap_or(own), &*parent.name);
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    match (group, parent.kind.as_deref().unwrap_or("Gateway")) {
        (GATEWAY_GROUP, "Gateway") => gateways.find(&key).map(|gateway| (gateway, None)),
        (GATEWAY_GROUP, "ListenerSet") => {
            let (gateway, set) = gateways.find_set(&key)?;
            let attached = gateways.list[gateway].sets[set].attached();
            attached.then_some((gateway, Some(set)))
        }
        _ => None,
    }
}

impl Attachment {
    fn new(gateway: usize, set: Option<usize>, parent: &ParentReference) -> Self {
        Self {
            gateway,
            set,
            listeners: Vec::new(),
            parent: parent.clone(),
            conditions: Conditions::default(),
        }
    }

    /// Finds the listeners that take the route. A field that is not known may be the one that narrows where
    /// a route attaches, so with one nobody can say where that is: nowhere.
    fn choose(
        &mut self,
        world: &World<'_>,
        gateway: &GatewayState<'_>,
        route: RouteRef<'_>,
        at: usize,
        report: &mut Report,
    ) {
        if let Some(fault) = misread(route, at) {
            let message = format!("{fault}.");
            self.conditions
                .set("Accepted", false, "UnsupportedValue", message);
            return;
        }
        let named: Vec<usize> = (0..gateway.listeners.len())
            .filter(|i| self.names(&gateway.listeners[*i]))
            .collect();
        let namespace = &route.meta().namespace;
        let labels = world.labels(namespace);
        let allowed: Vec<usize> = named
            .iter()
            .copied()
            .filter(|i| {
                let listener = &gateway.listeners[*i];
                listener.takes_kind(route.kind()) && listener.allowed.takes(namespace, &labels)
            })
            .collect();
        let listeners = allowed
            .iter()
            .map(|i| (*i, hosts(gateway, *i, route.hostnames())));
        self.listeners = listeners.filter(|(_, hosts)| !hosts.is_empty()).collect();
        let (reason, message) = match (
            named.is_empty(),
            allowed.is_empty(),
            self.listeners.is_empty(),
        ) {
            (true, ..) => (
                "NoMatchingParent",
                match self.set {
                    Some(_) => "The ListenerSet has no such listener.",
                    None => "The Gateway has no such listener.",
                },
            ),
            (_, true, _) => (
                "NotAllowedByListeners",
                "No listener takes routes of this kind from this namespace.",
            ),
            (.., true) => (
                "NoMatchingListenerHostname",
                "The route and the listeners have no host name in common.",
            ),
            _ => {
                self.conditions
                    .set("Accepted", true, "Accepted", "The route is accepted.");
                return;
            }
        };
        self.conditions.set("Accepted", false, reason, message);
        let field = format!("spec.parentRefs[{at}]");
        let namespaces = &world.objects.namespaces;
        let known = namespaces.contains_key(&ObjectKey::new("", &**namespace));
        let place = (self.set, &*named);
        let (code, help) = lint::unattached(reason, gateway, place, (namespace, known));
        report.error(code, &route.subject(), field, message, help);
    }

    /// Whether the parentRef is for this listener.
    fn names(&self, listener: &ListenerState<'_>) -> bool {
        let section = self
            .parent
            .section_name
            .as_deref()
            .filter(|name| !name.is_empty());
        self.set == listener.set
            && section.is_none_or(|name| name == listener.spec.name)
            && (self.parent.port).is_none_or(|port| port == listener.spec.port)
    }

    /// States what the rules mean for this parent.
    pub(super) fn state(&mut self, faults: &Faults, total: usize) {
        let refused = self
            .conditions
            .find("Accepted")
            .filter(|held| !held.status)
            .cloned();
        faults.state(&mut self.conditions, total);
        if let Some(refused) = refused {
            self.conditions
                .set("Accepted", false, refused.reason, refused.message);
        }
        if self.conditions.find("ResolvedRefs").is_none() {
            let message = "Every reference is resolved.";
            self.conditions
                .set("ResolvedRefs", true, "ResolvedRefs", message);
        }
    }
}

/// The first field of a route that is not known, and that has to do with this parentRef or with all.
fn misread(route: RouteRef<'_>, at: usize) -> Option<&SchemaViolation> {
    let own = format!("spec.parentRefs[{at}]");
    let concerns = |fault: &&SchemaViolation| {
        let field = fault.field.as_str();
        let of_rule = field == "spec.rules" || field.starts_with("spec.rules[");
        let of_parent = field.starts_with("spec.parentRefs[");
        !of_rule && !is_of_every_rule(field) && (!of_parent || field.starts_with(&own))
    };
    route.misread().iter().find(concerns)
}

/// Counts the route with its listeners. As in Envoy Gateway an HTTPRoute counts even if all its rules
/// are wrong, since they answer 500 there; no other kind does.
pub(super) fn join(gateways: &mut Gateways<'_>, attachment: &Attachment, route: RouteRef<'_>) {
    let refused = attachment.conditions.says("Accepted", false);
    if refused && !matches!(route, RouteRef::Http(_)) {
        return;
    }
    for (listener, _) in &attachment.listeners {
        gateways.list[attachment.gateway].listeners[*listener].attached += 1;
    }
}

/// The host names of a route that reach this listener. Those that are another listener's own name on
/// the same port go there.
fn hosts(gateway: &GatewayState<'_>, at: usize, hostnames: &[String]) -> Vec<NamePattern> {
    let listener = &gateway.listeners[at];
    if hostnames.is_empty() {
        return vec![listener.hostname.clone()];
    }
    let mut hosts = Vec::new();
    for pattern in hostnames
        .iter()
        .filter_map(|name| name.parse::<NamePattern>().ok())
    {
        if let Some(shared) = pattern.intersect(&listener.hostname)
            && !listener.neighbours.contains(&shared)
            && !hosts.contains(&shared)
        {
            hosts.push(shared);
        }
    }
    hosts
}
