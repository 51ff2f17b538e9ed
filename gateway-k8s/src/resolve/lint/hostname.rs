//! Hostnames of routes whose requests go to another listener of the port.
//!
//! The listener with the most specific hostname serves a request, even if none of its routes matches. A route
//! on a less specific listener is accepted if the hostnames overlap, but receives none of these requests.

use std::collections::BTreeSet;

use towergate_tls::NamePattern;

use super::super::gateway::{GatewayState, Gateways};
use super::super::indexed::ListenerIndex;
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
    for attachment in &state.attachments {
        let gateway = &gateways.list[attachment.gateway];
        for (at, hosts) in &attachment.listeners {
            for host in hosts {
                let Some(server) = server_of(gateway, *at, host) else {
                    continue;
                };
                let of_gateway = state
                    .attachments
                    .iter()
                    .filter(|other| other.gateway == attachment.gateway);
                let mut listeners = of_gateway.flat_map(|other| &other.listeners);
                if listeners.any(|(listener, _)| *listener == server) {
                    continue;
                }
                let own = &gateway.listeners[*at].hostname;
                let server = &gateway.listeners[server];
                let message = format!(
                    "requests for {host} are served by listener {:?}, whose hostname {} is more specific; the route is not attached to it",
                    server.spec.name, server.hostname
                );
                if let Some(hostname) = written(state.route.hostnames(), own, host) {
                    found.insert((hostname, message));
                }
            }
        }
    }
    found
}

/// The listener that serves all requests for `host` in place of the listener `at`.
fn server_of(
    gateway: &GatewayState<'_>,
    at: ListenerIndex,
    host: &NamePattern,
) -> Option<ListenerIndex> {
    let own = &gateway.listeners[at];
    let serves_all = |index: &ListenerIndex| {
        let listener = &gateway.listeners[*index];
        listener.spec.port == own.spec.port
            && listener.is_valid()
            && listener.hostname.intersect(host).as_ref() == Some(host)
    };
    let candidates = gateway.listeners.indices().filter(serves_all);
    let server = candidates.max_by_key(|index| gateway.listeners[*index].hostname.specificity())?;
    let more = gateway.listeners[server].hostname.specificity() > own.hostname.specificity();
    more.then_some(server)
}

/// The index of the first hostname of a route whose intersection with the listener's hostname is `host`.
fn written(hostnames: &[String], listener: &NamePattern, host: &NamePattern) -> Option<usize> {
    hostnames.iter().position(|name| {
        let name = name.parse::<NamePattern>().ok();
        name.is_some_and(|name| name.intersect(listener).as_ref() == Some(host))
    })
}
