//! Redirect loops, and rules without backends.

use towergate_core::filter::{Redirect, WebScheme};
use towergate_core::plan::Filter;

use super::super::gateway::{Gateways, ListenerProtocol, ListenerState};
use super::super::report::Report;
use super::super::route::{RouteState, RuleDraft};
use crate::finding::FindingCode;

/// Reports redirects back to their own listener, and rules without backends.
pub(super) fn check(gateways: &Gateways<'_>, routes: &[RouteState<'_>], report: &mut Report) {
    for state in routes {
        let subject = state.route.subject();
        for rule in &state.rules {
            let Some(redirect) = redirect(rule) else {
                let mut filters = rule.filters.iter();
                let replies = filters.any(|filter| matches!(filter, Filter::DirectResponse(_)));
                if rule.backends.is_empty() && rule.respond.is_none() && !replies {
                    report.warn(
                        FindingCode::RuleWithoutBackends,
                        &subject,
                        format!("spec.rules[{}]", rule.index),
                        "the rule has no backendRefs; its requests get 500",
                        "add a backendRef, or remove the rule",
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
                    FindingCode::RedirectLoop,
                    &subject,
                    format!("spec.rules[{}].filters", rule.index),
                    format!(
                        "the redirect leads back to listener {:?}, in an endless loop",
                        listener.spec.name
                    ),
                    "set sectionName in the parentRef to the listener that redirects",
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
        | Filter::RegexRewrite(_)
        | Filter::DirectResponse(_)
        | Filter::Mirror(_)
        | Filter::Credential(_)
        | Filter::Cors(_) => None,
    })
}

/// Whether a redirect changes nothing for requests of a listener.
fn loops(redirect: &Redirect, listener: &ListenerState<'_>) -> bool {
    let own = if listener.protocol == Some(ListenerProtocol::Https) {
        WebScheme::Https
    } else {
        WebScheme::Http
    };
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => i32::from(port),
        (None, Some(scheme)) => i32::from(scheme.default_port()),
        (None, None) => listener.spec.port,
    };
    redirect.hostname.is_none()
        && redirect.path.is_none()
        && redirect.scheme.unwrap_or(own) == own
        && port == listener.spec.port
}
