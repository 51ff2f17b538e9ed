//! Finds hostnames of accepted routes that another listener serves, to which the route is not attached.
//!
//! The listener with the most specific hostname serves a request, even if none of its routes matches. A route
//! on a less specific listener does not receive these requests.

use std::collections::BTreeSet;

use super::super::gateway::Gateways;
use super::super::report::Report;
use super::super::route::RouteState;
use crate::finding::FindingCode;

/// Reports hostnames of routes whose requests go to a listener to which the route is not attached.
pub(super) fn check(gateways: &Gateways<'_>, routes: &[RouteState<'_>], report: &mut Report) {
    for state in routes {
        for (hostname, message) in shadowed(gateways, state) {
            report.warn(
                FindingCode::HostnameOfAnotherListener,
                &state.route.subject(),
                format!("spec.hostnames[{hostname}]"),
                message,
                "attach the route to that listener, or remove the hostname",
            );
        }
    }
}

/// The index of each hostname to report, with a message.
fn shadowed(gateways: &Gateways<'_>, state: &RouteState<'_>) -> BTreeSet<(usize, String)> {
    let mut found = BTreeSet::new();
    // For a parentRef without a common hostname, an error with the same message is reported elsewhere.
    let accepted = state.attachments.iter();
    let accepted = accepted.filter(|attachment| !attachment.listeners.is_empty());
    for attachment in accepted {
        let gateway = &gateways.list[attachment.gateway];
        for shadowed in &attachment.shadowed {
            let of_gateway = state
                .attachments
                .iter()
                .filter(|other| other.gateway == attachment.gateway);
            let mut listeners = of_gateway.flat_map(|other| &other.listeners);
            if listeners.any(|(listener, _)| *listener == shadowed.server) {
                continue;
            }
            if let Some(message) = shadowed.message(gateway) {
                let message = format!("{message}; the route is not attached to it");
                found.insert((shadowed.index, message));
            }
        }
    }
    found
}
