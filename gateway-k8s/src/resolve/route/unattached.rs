//! Advice for routes that do not attach to a parent.

use super::super::gateway::{AllowedNamespaces, GatewayState};
use super::super::indexed::{ListenerIndex, ListenerSetIndex};
use crate::api::gateway::Listener;
use crate::finding::FindingCode;
use crate::status::RouteReason;

/// Code and advice for a route that does not attach. The parent is a ListenerSet (`set`) or the
/// Gateway. `named` contains the listeners that the parentRef selects. `known`: a Namespace object
/// exists.
pub(super) fn unattached(
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
