//! Routes that do not attach to a parent.

use std::collections::BTreeMap;

use towergate_tls::NamePattern;

use super::super::gateway::{AllowedNamespaces, GatewayState, Gateways};
use super::super::indexed::{ListenerIndex, ListenerSetIndex};
use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::super::route::{RouteRef, RouteState};
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::Listener;
use crate::api::reference::ParentReference;
use crate::finding::FindingCode;
use crate::objects::ObjectKey;
use crate::status::RouteReason;

/// Code and advice for a route that does not attach. The parent is a ListenerSet (`set`) or the
/// Gateway. `named` contains the listeners that the parentRef selects. `known`: a Namespace object
/// exists.
pub(crate) fn unattached(
    reason: RouteReason,
    gateway: &GatewayState<'_>,
    (set, named): (Option<ListenerSetIndex>, &[ListenerIndex]),
    (namespace, known): (&str, bool),
) -> (FindingCode, String) {
    match reason {
        RouteReason::NoMatchingParent => {
            let listeners = gateway.listeners_of(set);
            let names: Vec<_> = listeners
                .iter()
                .map(|listener| listener.spec.name.as_str())
                .collect();
            (
                FindingCode::NoSuchListener,
                format!("use one of its listeners: {}", names.join(", ")),
            )
        }
        RouteReason::NotAllowedByListeners => {
            let mut listeners = named.iter().map(|at| &gateway.listeners[*at]);
            let selecting = listeners
                .find(|listener| matches!(listener.allowed, AllowedNamespaces::Selector(_)));
            match selecting {
                Some(listener) => (
                    FindingCode::NamespaceNotAllowed,
                    format!(
                        "listener {:?} selects namespaces with {}; {}",
                        listener.spec.name,
                        wanted(listener.spec),
                        match known {
                            true => format!("add these labels to namespace {namespace}"),
                            false => format!(
                                "add a Namespace object {namespace} with these labels to the manifests"
                            ),
                        }
                    ),
                ),
                None => (
                    FindingCode::RouteNotAllowed,
                    "allow the namespace and kind in allowedRoutes of the listener".to_owned(),
                ),
            }
        }
        _ => (
            FindingCode::NoCommonHostname,
            "use a hostname that the listener accepts, or another listener".to_owned(),
        ),
    }
}

/// The labels that a listener requires of namespaces.
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

/// Reports parentRefs that name no Gateway, in particular those without a namespace.
pub(super) fn parents(index: &ObjectIndex<'_>, gateways: &Gateways<'_>, report: &mut Report) {
    let mut by_name: BTreeMap<&str, Vec<ObjectKey>> = BTreeMap::new();
    for gateway in &gateways.list {
        by_name
            .entry(&gateway.object.meta.name)
            .or_default()
            .push(gateway.object.key());
    }
    for route in RouteRef::all(index.objects) {
        let (subject, own) = (route.subject(), &*route.meta().namespace);
        for (at, parent) in route.parent_refs().iter().enumerate() {
            let field = format!("spec.parentRefs[{at}]");
            missing(index, &by_name, own, parent, |code, message, help| {
                report.error(code, &subject, &*field, message, help);
            });
        }
    }
}

fn missing(
    index: &ObjectIndex<'_>,
    by_name: &BTreeMap<&str, Vec<ObjectKey>>,
    own: &str,
    parent: &ParentReference,
    mut found: impl FnMut(FindingCode, String, String),
) {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    let key = ObjectKey::new(parent.namespace.as_deref().unwrap_or(own), &*parent.name);
    if (group, kind) == (GATEWAY_GROUP, "ListenerSet") {
        if !index.objects.listener_sets.contains_key(&key) {
            found(
                FindingCode::ParentNotFound,
                format!("ListenerSet {key} not found; the route is not attached"),
                "correct the name and namespace of the ListenerSet".to_owned(),
            );
        }
        return;
    }
    if (group, kind) != (GATEWAY_GROUP, "Gateway") {
        let message = format!(
            "routes attach to Gateways and ListenerSets, not to {kind} {}",
            parent.name
        );
        return found(
            FindingCode::ParentKind,
            message,
            "reference a Gateway or ListenerSet".to_owned(),
        );
    }
    if index.objects.gateways.contains_key(&key) {
        return;
    }
    match by_name.get(parent.name.as_str()).map(Vec::as_slice) {
        Some([elsewhere, ..]) => found(
            if parent.namespace.is_none() {
                FindingCode::ParentNamespaceMissing
            } else {
                FindingCode::ParentNotFound
            },
            format!("Gateway {key} not found, but {elsewhere} exists; the route is not attached"),
            format!("set namespace: {}", elsewhere.namespace),
        ),
        _ => found(
            FindingCode::ParentNotFound,
            format!("Gateway {key} not found; the route is not attached"),
            "correct the name of the Gateway".to_owned(),
        ),
    }
}

/// Reports invalid hostnames.
pub(super) fn hostnames(routes: &[RouteState<'_>], report: &mut Report) {
    for state in routes {
        for (at, name) in state.route.hostnames().iter().enumerate() {
            if let Err(fault) = name.parse::<NamePattern>() {
                report.error(
                    FindingCode::HostnameInvalid,
                    &state.route.subject(),
                    format!("spec.hostnames[{at}]"),
                    fault.to_string(),
                    "use lower case, without a port",
                );
            }
        }
    }
}

/// Reports routes that rely on default Gateways.
pub(super) fn defaults(index: &ObjectIndex<'_>, report: &mut Report) {
    for route in RouteRef::all(index.objects) {
        if route
            .default_gateways()
            .is_none_or(|options| options == "None")
        {
            continue;
        }
        let message =
            "default Gateways are not supported; the route attaches to its parentRefs only";
        let help = "name the Gateway in parentRefs";
        report.warn(
            FindingCode::Unsupported,
            &route.subject(),
            "spec.useDefaultGateways",
            message,
            help,
        );
    }
}
