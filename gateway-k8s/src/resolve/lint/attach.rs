//! Routes that do not attach.

use super::super::gateway::{Allowed, GatewayState};

/// The diagnostic for a parent that does not take a route of this namespace, and how to mend it.
pub(crate) fn unattached(
    reason: &str,
    gateway: &GatewayState<'_>,
    namespace: &str,
) -> (&'static str, String) {
    let listeners = gateway
        .listeners
        .iter()
        .map(|listener| listener.spec.name.as_str());
    match reason {
        "NoMatchingParent" => (
            "no-such-listener",
            format!(
                "Name one of its listeners: {}.",
                listeners.collect::<Vec<_>>().join(", ")
            ),
        ),
        "NotAllowedByListeners" => {
            let labels = gateway
                .listeners
                .iter()
                .any(|listener| matches!(listener.allowed, Allowed::Selector(_)));
            let help = if labels {
                format!(
                    "Give namespace {namespace} the labels that allowedRoutes.namespaces.selector wants."
                )
            } else {
                "Let allowedRoutes of the listener take this namespace and kind.".to_owned()
            };
            ("route-not-allowed", help)
        }
        _ => (
            "no-common-hostname",
            "Use a host name that the listener takes, or name another listener.".to_owned(),
        ),
    }
}
