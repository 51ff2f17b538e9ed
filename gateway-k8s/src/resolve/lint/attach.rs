//! Routes that do not attach to a parent.

use std::collections::BTreeMap;

use towergate_tls::NamePattern;

use super::super::gateway::Gateways;
use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::super::route::{RouteRef, RouteState};
use crate::api::GATEWAY_GROUP;
use crate::api::reference::ParentReference;
use crate::finding::FindingCode;
use crate::objects::ObjectKey;

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
