//! Rules that lead nowhere.

use towergate_core::filter::Redirect;
use towergate_core::plan::Filter;

use super::super::gateway::{Gateways, ListenerState};
use super::super::report::Report;
use super::super::route::{RouteState, RuleDraft};

/// Reports redirects that lead to where they came from, and rules without backends.
pub(super) fn check(gateways: &Gateways<'_>, routes: &[RouteState<'_>], report: &mut Report) {
    for state in routes {
        let subject = state.route.subject();
        for rule in &state.rules {
            let Some(redirect) = redirect(rule) else {
                if rule.backends.is_empty() && rule.respond.is_none() {
                    report.warn(
                        "rule-without-backends",
                        &subject,
                        format!("spec.rules[{}]", rule.index),
                        "The rule has no backendRefs: its requests are answered 500.",
                        "Name a backend, or remove the rule.",
                    );
                }
                continue;
            };
            let mut listeners = state.attachments.iter().flat_map(|attachment| {
                let gateway = &gateways.list[attachment.gateway];
                attachment
                    .listeners
                    .iter()
                    .map(|(at, _)| &gateway.listeners[*at])
            });
            if let Some(listener) = listeners.find(|listener| loops(redirect, listener)) {
                report.warn(
                    "redirect-loop",
                    &subject,
                    format!("spec.rules[{}].filters", rule.index),
                    format!(
                        "On listener {} the redirect leads to where the request came from, for ever.",
                        listener.spec.name
                    ),
                    "Name the listener that the redirect is for with sectionName in parentRefs.",
                );
            }
        }
    }
}

fn redirect(rule: &RuleDraft) -> Option<&Redirect> {
    rule.filters.iter().find_map(|filter| match filter {
        Filter::Redirect(redirect) => Some(redirect),
        Filter::RequestHeaders(_)
        | Filter::ResponseHeaders(_)
        | Filter::Rewrite(_)
        | Filter::Mirror(_)
        | Filter::Cors(_) => None,
    })
}

/// Whether a redirect changes nothing for requests of a listener.
fn loops(redirect: &Redirect, listener: &ListenerState<'_>) -> bool {
    let own = if listener.spec.protocol == "HTTPS" {
        "https"
    } else {
        "http"
    };
    let well_known = |scheme: &str| if scheme == "https" { 443 } else { 80 };
    let scheme = redirect.scheme.as_deref();
    let port = match (redirect.port, scheme) {
        (Some(port), _) => i32::from(port),
        (None, Some(scheme)) => well_known(scheme),
        (None, None) => listener.spec.port,
    };
    redirect.hostname.is_none()
        && redirect.path.is_none()
        && scheme.unwrap_or(own) == own
        && port == listener.spec.port
}
