//! Attachment of routes: their parentRefs, the listeners that accept them, and the common
//! hostnames.

use std::collections::BTreeSet;

use towergate_policy::SchemaViolation;
use towergate_tls::NamePattern;

use super::super::gateway::{GatewayState, Gateways, ListenerState};
use super::super::indexed::{GatewayIndex, ListenerIndex, ListenerSetIndex};
use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::unattached::unattached;
use super::{RouteRef, RuleErrors};
use crate::api::GATEWAY_GROUP;
use crate::api::reference::ParentReference;
use crate::decode::FieldScope;
use crate::objects::ObjectKey;
use crate::status::{ConditionType, Conditions, RouteReason};

/// Attachment of a route to one parent.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// Index of the Gateway.
    pub(crate) gateway: GatewayIndex,
    /// Index of the ListenerSet that the parentRef names; `None`: it names the Gateway.
    pub(crate) set: Option<ListenerSetIndex>,
    /// Listeners that accept the route, with the common hostnames.
    pub(crate) listeners: Vec<(ListenerIndex, Vec<NamePattern>)>,
    /// Hostnames of the route whose requests go to a listener that is more specific than the listener that
    /// the parentRef selects.
    pub(crate) shadowed: Vec<ShadowedHostname>,
    /// The parentRef as written. In a cluster, the API server has set group and kind.
    pub(crate) parent: ParentReference,
    /// Conditions of the route for this parent.
    pub(crate) conditions: Conditions<RouteReason>,
}

/// A hostname of a route that a more specific listener of the port serves.
#[derive(Debug)]
pub(crate) struct ShadowedHostname {
    /// Index in `spec.hostnames`.
    pub(crate) index: usize,
    /// The hostname that the route has in common with its own listener, which is less specific than the listener
    /// `server`.
    pub(crate) host: NamePattern,
    /// The more specific listener.
    pub(crate) server: ListenerIndex,
}

impl ShadowedHostname {
    /// The message about the hostname; `None` if the more specific listener is invalid and serves no
    /// requests.
    pub(crate) fn message(&self, gateway: &GatewayState<'_>) -> Option<String> {
        let server = &gateway.listeners[self.server];
        server.is_valid().then(|| {
            format!(
                "requests for {} are served by listener {:?}, whose hostname {} is more specific",
                self.host, server.spec.name, server.hostname
            )
        })
    }
}

/// Attaches a route to its parents. Unknown parents are skipped: they may belong to another controller.
pub(super) fn find(
    index: &ObjectIndex<'_>,
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
            attachment.choose(index, state, route, at, report);
            attachments.push(attachment);
        }
    }
    attachments
}

/// The Gateway and the ListenerSet that a parentRef names. `None` for a ListenerSet that its Gateway does
/// not accept.
fn named(
    gateways: &Gateways<'_>,
    route: RouteRef<'_>,
    parent: &ParentReference,
) -> Option<(GatewayIndex, Option<ListenerSetIndex>)> {
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
    fn new(gateway: GatewayIndex, set: Option<ListenerSetIndex>, parent: &ParentReference) -> Self {
        Self {
            gateway,
            set,
            listeners: Vec::new(),
            shadowed: Vec::new(),
            parent: parent.clone(),
            conditions: Conditions::default(),
        }
    }

    /// Finds the listeners that accept the route. An unknown field may restrict the attachment, so a route
    /// with an unknown field attaches to no listener.
    fn choose(
        &mut self,
        index: &ObjectIndex<'_>,
        gateway: &GatewayState<'_>,
        route: RouteRef<'_>,
        at: usize,
        report: &mut Report,
    ) {
        if let Some(fault) = unreadable_field(route, at) {
            let message = fault.to_string();
            self.conditions.set(
                ConditionType::Accepted,
                false,
                RouteReason::UnsupportedValue,
                message,
            );
            return;
        }
        let named: Vec<_> = gateway
            .listeners
            .indices()
            .filter(|i| self.names(&gateway.listeners[*i]))
            .collect();
        let namespace = &route.meta().namespace;
        let labels = index.labels(namespace);
        let allowed: Vec<_> = named
            .iter()
            .copied()
            .filter(|i| {
                let listener = &gateway.listeners[*i];
                listener.takes_kind(route.route_kind())
                    && listener.allowed.takes(namespace, &labels)
            })
            .collect();
        for listener in &allowed {
            let hosts = self.hosts(gateway, *listener, route.hostnames());
            if !hosts.is_empty() {
                self.listeners.push((*listener, hosts));
            }
        }
        let shadowed = self.shadowed.iter().find_map(|one| one.message(gateway));
        let no_hostname = shadowed
            .as_deref()
            .unwrap_or("the route and the listeners have no hostname in common");
        if gateway.is_refused() {
            // The error of the Gateway is reported there.
            let message = "the Gateway is not served; its condition Accepted states why";
            let reason = RouteReason::NoMatchingParent;
            self.conditions
                .set(ConditionType::Accepted, false, reason, message);
            return;
        }
        let (reason, message) = match (
            named.is_empty(),
            allowed.is_empty(),
            self.listeners.is_empty(),
        ) {
            (true, ..) => (
                RouteReason::NoMatchingParent,
                match self.set {
                    Some(_) => "the ListenerSet has no listener with this name and port",
                    None => "the Gateway has no listener with this name and port",
                },
            ),
            (_, true, _) => (
                RouteReason::NotAllowedByListeners,
                "no listener accepts routes of this kind from this namespace",
            ),
            (.., true) => (RouteReason::NoMatchingListenerHostname, no_hostname),
            _ => {
                self.conditions.set(
                    ConditionType::Accepted,
                    true,
                    RouteReason::Accepted,
                    "the route is accepted",
                );
                return;
            }
        };
        self.conditions
            .set(ConditionType::Accepted, false, reason, message);
        let field = format!("spec.parentRefs[{at}]");
        let namespaces = &index.objects.namespaces;
        let known = namespaces.contains_key(&ObjectKey::new("", &**namespace));
        let place = (self.set, &*named);
        let (code, help) = unattached(reason, gateway, place, (namespace, known));
        report.error(code, &route.subject(), field, message, help);
    }

    /// The hostnames of a route on a listener, without those that more specific listeners of the port serve.
    fn hosts(
        &mut self,
        gateway: &GatewayState<'_>,
        at: ListenerIndex,
        hostnames: &[String],
    ) -> Vec<NamePattern> {
        let listener = &gateway.listeners[at];
        if hostnames.is_empty() {
            return vec![listener.hostname.clone()];
        }
        let mut hosts = Vec::new();
        for (index, text) in hostnames.iter().enumerate() {
            let pattern = text.parse::<NamePattern>().ok();
            let shared = pattern.and_then(|pattern| pattern.intersect(&listener.hostname));
            let Some(host) = shared.filter(|shared| !hosts.contains(shared)) else {
                continue;
            };
            match gateway.server_instead_of(at, &host) {
                None => hosts.push(host),
                Some(server) => self.shadowed.push(ShadowedHostname {
                    index,
                    host,
                    server,
                }),
            }
        }
        hosts
    }

    /// Whether the parentRef selects `listener`.
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

    /// Sets the conditions that follow from the rules.
    pub(super) fn state(&mut self, faults: &RuleErrors, total: usize) {
        let refused = self
            .conditions
            .find(ConditionType::Accepted)
            .filter(|held| !held.status)
            .cloned();
        faults.state(&mut self.conditions, total);
        if let Some(refused) = refused {
            self.conditions.insert(refused);
        }
        if !faults.unresolved && self.conditions.find(ConditionType::ResolvedRefs).is_none() {
            let message = "every reference is resolved";
            self.conditions.set(
                ConditionType::ResolvedRefs,
                true,
                RouteReason::ResolvedRefs,
                message,
            );
        }
    }
}

/// The first unknown field that affects the parentRef at index `at`, or all parentRefs.
fn unreadable_field(route: RouteRef<'_>, at: usize) -> Option<&SchemaViolation> {
    let concerns = |fault: &&SchemaViolation| match FieldScope::of(&fault.field) {
        FieldScope::Parent(own) => own == at,
        FieldScope::Rule(..) | FieldScope::EveryRule => false,
        _ => true,
    };
    route.unreadable_fields().iter().find(concerns)
}

/// Counts the route for its listeners. As in Envoy Gateway, an HTTPRoute counts even if all its rules are
/// invalid, because they return 500. A route of another kind whose rules are all invalid does not count.
pub(super) fn join(gateways: &mut Gateways<'_>, attachment: &Attachment, route: RouteRef<'_>) {
    let refused = attachment.conditions.is_false(ConditionType::Accepted);
    if refused && !matches!(route, RouteRef::Http(_)) {
        return;
    }
    for (listener, _) in &attachment.listeners {
        gateways.list[attachment.gateway].listeners[*listener].attached += 1;
    }
}

/// For each of `hostnames`, the hostnames of a route on a listener: the hostname in the spec of the route
/// from which it results (the most specific one, if there are several). Returns an empty list if the two
/// lists are equal.
pub(crate) fn written_hostnames(
    route: RouteRef<'_>,
    listener: &NamePattern,
    hostnames: &[NamePattern],
) -> Vec<NamePattern> {
    let written = route.hostnames().iter();
    let written: Vec<NamePattern> = written.filter_map(|name| name.parse().ok()).collect();
    let source = |served: &NamePattern| {
        let sources = written
            .iter()
            .filter(|own| own.intersect(listener).as_ref() == Some(served));
        let most = sources.max_by_key(|own| own.specificity());
        most.cloned().unwrap_or(NamePattern::Any)
    };
    let written: Vec<_> = hostnames.iter().map(source).collect();
    match written == hostnames {
        true => Vec::new(),
        false => written,
    }
}
