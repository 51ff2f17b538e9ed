//! Routes that do not attach, and why.

use std::collections::BTreeMap;

use towergate_tls::NamePattern;

use super::super::gateway::{Allowed, GatewayState, Gateways};
use super::super::report::Report;
use super::super::route::{RouteRef, RouteState};
use super::super::world::World;
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::Listener;
use crate::api::reference::ParentReference;
use crate::objects::ObjectKey;

/// The diagnostic for a parent that does not take a route of this namespace, and how to mend it.
/// The parent is a ListenerSet or the Gateway itself; `named` are the listeners that the parentRef is for;
/// `known` says whether there is a Namespace object of the name.
pub(crate) fn unattached(
    reason: &str,
    gateway: &GatewayState<'_>,
    (set, named): (Option<usize>, &[usize]),
    (namespace, known): (&str, bool),
) -> (&'static str, String) {
    match reason {
        "NoMatchingParent" => {
            let listeners = gateway.listeners_of(set);
            let names: Vec<_> = listeners
                .iter()
                .map(|listener| listener.spec.name.as_str())
                .collect();
            (
                "no-such-listener",
                format!("Name one of its listeners: {}.", names.join(", ")),
            )
        }
        "NotAllowedByListeners" => {
            let mut listeners = named.iter().map(|at| &gateway.listeners[*at]);
            let selecting =
                listeners.find(|listener| matches!(listener.allowed, Allowed::Selector(_)));
            match selecting {
                Some(listener) => (
                    "namespace-not-allowed",
                    format!(
                        "Listener {} takes namespaces with {}: {}.",
                        listener.spec.name,
                        wanted(listener.spec),
                        match known {
                            true => format!("give namespace {namespace} these labels"),
                            false => format!(
                                "there is no Namespace object {namespace} among the manifests, so add one with these labels"
                            ),
                        }
                    ),
                ),
                None => (
                    "route-not-allowed",
                    "Let allowedRoutes of the listener take this namespace and kind.".to_owned(),
                ),
            }
        }
        _ => (
            "no-common-hostname",
            "Use a host name that the listener takes, or name another listener.".to_owned(),
        ),
    }
}

/// The labels that a listener wants of namespaces, for people.
fn wanted(listener: &Listener) -> String {
    let routes = listener.allowed_routes.as_ref();
    let selector = routes.and_then(|routes| routes.namespaces.as_ref()?.selector.as_ref());
    let labels = selector
        .into_iter()
        .flat_map(|selector| &selector.match_labels);
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    let expressions = selector
        .into_iter()
        .flat_map(|selector| &selector.match_expressions);
    let expressions = expressions.map(|wanted| {
        format!(
            "{} {} {}",
            wanted.key,
            wanted.operator,
            wanted.values.join("|")
        )
        .trim_end()
        .to_owned()
    });
    labels.chain(expressions).collect::<Vec<_>>().join(", ")
}

/// Reports parentRefs that name no Gateway, above all those that lack the namespace.
pub(super) fn parents(world: &World<'_>, gateways: &Gateways<'_>, report: &mut Report) {
    let mut by_name: BTreeMap<&str, Vec<ObjectKey>> = BTreeMap::new();
    for gateway in &gateways.list {
        by_name
            .entry(&gateway.object.meta.name)
            .or_default()
            .push(gateway.object.key());
    }
    for route in RouteRef::all(world.objects) {
        let (subject, own) = (route.subject(), &*route.meta().namespace);
        for (at, parent) in route.parent_refs().iter().enumerate() {
            let field = format!("spec.parentRefs[{at}]");
            missing(world, &by_name, own, parent, |code, message, help| {
                report.error(code, &subject, &*field, message, help);
            });
        }
    }
}

fn missing(
    world: &World<'_>,
    by_name: &BTreeMap<&str, Vec<ObjectKey>>,
    own: &str,
    parent: &ParentReference,
    mut tell: impl FnMut(&'static str, String, String),
) {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    let key = ObjectKey::new(parent.namespace.as_deref().unwrap_or(own), &*parent.name);
    if (group, kind) == (GATEWAY_GROUP, "ListenerSet") {
        if !world.objects.listener_sets.contains_key(&key) {
            tell(
                "parent-not-found",
                format!("There is no ListenerSet {key}. The route is not attached."),
                "Name a ListenerSet that is there, with its namespace.".to_owned(),
            );
        }
        return;
    }
    if (group, kind) != (GATEWAY_GROUP, "Gateway") {
        let message = format!(
            "Routes attach to Gateways and ListenerSets, not to {kind} {}.",
            parent.name
        );
        return tell("parent-kind", message, "Name a Gateway.".to_owned());
    }
    if world.objects.gateways.contains_key(&key) {
        return;
    }
    match by_name.get(parent.name.as_str()).map(Vec::as_slice) {
        Some([elsewhere, ..]) => tell(
            if parent.namespace.is_none() {
                "parent-namespace-missing"
            } else {
                "parent-not-found"
            },
            format!(
                "There is no Gateway {key}, but there is {elsewhere}. The route is not attached."
            ),
            format!("Write namespace: {}.", elsewhere.namespace),
        ),
        _ => tell(
            "parent-not-found",
            format!("There is no Gateway {key}. The route is not attached."),
            "Name a Gateway that is there.".to_owned(),
        ),
    }
}

/// Reports host names that are none: nothing is served for them.
pub(super) fn hostnames(routes: &[RouteState<'_>], report: &mut Report) {
    for state in routes {
        for (at, name) in state.route.hostnames().iter().enumerate() {
            if let Err(fault) = name.parse::<NamePattern>() {
                report.error(
                    "hostname-invalid",
                    &state.route.subject(),
                    format!("spec.hostnames[{at}]"),
                    format!("{fault}."),
                    "Write it in lower case and without a port.",
                );
            }
        }
    }
}

/// Reports routes that count on default Gateways.
pub(super) fn defaults(world: &World<'_>, report: &mut Report) {
    for route in RouteRef::all(world.objects) {
        if route.default_gateways().is_none_or(|scope| scope == "None") {
            continue;
        }
        let message = "There are no default Gateways: the route attaches to its parentRefs only.";
        let help = "Name the Gateway in parentRefs.";
        report.warn(
            "unsupported",
            &route.subject(),
            "spec.useDefaultGateways",
            message,
            help,
        );
    }
}
