//! Routes with equal matches: only the oldest receives the requests.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use towergate_core::plan::{Match, PathMatch};
use towergate_tls::NamePattern;

use super::super::gateway::Gateways;
use super::super::indexed::{GatewayIndex, Indexed, ListenerIndex, RouteIndex};
use super::Routes;
use super::attach::written_hostnames;
use crate::status::{ConditionType, RouteReason};

/// Rules that serve only CONNECT requests on a listener. An entry contains the route, the index of the rule,
/// the Gateway and the listener.
pub(in super::super) type ConnectRules = HashSet<(RouteIndex, usize, GatewayIndex, ListenerIndex)>;

/// A place where routes compete: Gateway, listener, hostname, and the specificity of the hostname as written
/// in the route. Routes with different specificities do not compete.
type Place<'a> = (GatewayIndex, ListenerIndex, &'a NamePattern, (u8, usize));

/// Sets the condition `RouteRulesOverlap` of routes that share a match and a hostname of a listener with
/// another route.
pub(in super::super) fn check(
    gateways: &Gateways<'_>,
    routes: &mut Routes<'_>,
    connect: &ConnectRules,
) {
    let mut places: HashMap<Place<'_>, BTreeSet<RouteIndex>> = HashMap::new();
    for (at, state) in routes.indexed() {
        for attachment in &state.attachments {
            for (listener, hosts) in &attachment.listeners {
                let served = &gateways.list[attachment.gateway].listeners[*listener].hostname;
                let written = written_hostnames(state.route, served, hosts);
                for (index, host) in hosts.iter().enumerate() {
                    let written = written.get(index).unwrap_or(host).specificity();
                    let place = (attachment.gateway, *listener, host, written);
                    places.entry(place).or_default().insert(at);
                }
            }
        }
    }
    // Most hostnames have one route, whose matches need no comparison.
    let shared = places.iter().filter(|(_, here)| here.len() > 1);
    let shared = shared.flat_map(|((gateway, listener, ..), here)| {
        let same = equal_matches(routes, here, |route, rule| {
            connect.contains(&(route, rule, *gateway, *listener))
        });
        same.into_iter().map(|same| (*gateway, *listener, same))
    });
    let shared: Vec<_> = shared.collect();
    let mut others: HashMap<(RouteIndex, GatewayIndex, ListenerIndex), BTreeSet<RouteIndex>> =
        HashMap::new();
    for (gateway, listener, routes) in shared {
        for route in &routes {
            let rest = routes.iter().copied().filter(|other| other != route);
            others
                .entry((*route, gateway, listener))
                .or_default()
                .extend(rest);
        }
    }
    if others.is_empty() {
        return;
    }
    let names: Indexed<RouteIndex, String> = routes
        .iter()
        .map(|state| format!("{} {}", state.route.kind(), state.route.key()))
        .collect();
    for ((route, gateway, listener), others) in others {
        let attachments = routes[route].attachments.iter_mut().filter(|attachment| {
            attachment.gateway == gateway
                && attachment.listeners.iter().any(|(at, _)| *at == listener)
        });
        let others: Vec<_> = others
            .into_iter()
            .map(|other| names[other].as_str())
            .collect();
        let message = format!(
            "other routes have the same match, and only the oldest of all receives the requests: {}",
            others.join(", ")
        );
        for attachment in attachments {
            attachment.conditions.set(
                ConditionType::RouteRulesOverlap,
                true,
                RouteReason::RouteRulesOverlap,
                &*message,
            );
        }
    }
}

/// For each match, the routes in `some` with this match.
#[expect(
    clippy::mutable_key_type,
    reason = "a `Text` is compared and hashed by its source"
)]
fn equal_matches(
    routes: &Routes<'_>,
    some: &BTreeSet<RouteIndex>,
    serves_connect: impl Fn(RouteIndex, usize) -> bool,
) -> Vec<BTreeSet<RouteIndex>> {
    let mut found: HashMap<(bool, Cow<'_, Match>), BTreeSet<RouteIndex>> = HashMap::new();
    for at in some {
        for rule in &routes[*at].rules {
            let connect = serves_connect(*at, rule.index);
            for matched in &rule.matches {
                let mut matched = canonical(matched);
                if connect {
                    // The path of a CONNECT request is empty.
                    matched.to_mut().path = PathMatch::Exact(String::new());
                }
                found.entry((connect, matched)).or_default().insert(*at);
            }
        }
    }
    found.into_values().filter(|r| r.len() > 1).collect()
}

/// A match in its canonical order of headers and parameters.
fn canonical(found: &Match) -> Cow<'_, Match> {
    let mut found = Cow::Borrowed(found);
    if found.headers.len() > 1 || found.query.len() > 1 {
        let found = found.to_mut();
        found.headers.sort_by(|a, b| a.name.cmp(&b.name));
        found.query.sort_by(|a, b| a.name.cmp(&b.name));
    }
    found
}
