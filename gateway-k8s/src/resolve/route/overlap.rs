//! Routes that match the same requests: one of them never gets them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use towergate_core::plan::Match;
use towergate_tls::NamePattern;

use super::RouteState;

/// The listener and the host name.
type Place<'a> = (usize, usize, &'a NamePattern);

/// States which routes have matches that another route has, too, for the same hosts of a listener.
pub(super) fn check(routes: &mut [RouteState<'_>]) {
    let mut places: HashMap<Place<'_>, BTreeSet<usize>> = HashMap::new();
    for (at, state) in routes.iter().enumerate() {
        for attachment in &state.attachments {
            for (listener, hosts) in &attachment.listeners {
                for host in hosts {
                    let place = (attachment.gateway, *listener, host);
                    places.entry(place).or_default().insert(at);
                }
            }
        }
    }
    // Most hosts have one route: what it matches need not be looked at.
    let shared = places.iter().filter(|(_, here)| here.len() > 1);
    let shared = shared.flat_map(|((gateway, listener, _), here)| {
        let same = equal_matches(routes, here);
        same.into_iter().map(|same| (*gateway, *listener, same))
    });
    let shared: Vec<_> = shared.collect();
    let mut others: HashMap<(usize, usize, usize), BTreeSet<usize>> = HashMap::new();
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
    let names: Vec<String> = routes
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
            "These routes match the same requests, of which the oldest gets them: {}.",
            others.join(", ")
        );
        for attachment in attachments {
            attachment
                .conditions
                .set("RouteRulesOverlap", true, "RouteRulesOverlap", &*message);
        }
    }
}

/// Of `some` routes those that have a match in common, for each such match.
#[expect(
    clippy::mutable_key_type,
    reason = "a `Text` is compared and hashed by its source"
)]
fn equal_matches(routes: &[RouteState<'_>], some: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
    let mut found: HashMap<Cow<'_, Match>, BTreeSet<usize>> = HashMap::new();
    for at in some {
        for matched in routes[*at].rules.iter().flat_map(|rule| &rule.matches) {
            found.entry(canonical(matched)).or_default().insert(*at);
        }
    }
    found.into_values().filter(|r| r.len() > 1).collect()
}

/// The order of headers and parameters does not matter.
fn canonical(found: &Match) -> Cow<'_, Match> {
    let mut found = Cow::Borrowed(found);
    if found.headers.len() > 1 || found.query.len() > 1 {
        let found = found.to_mut();
        found.headers.sort_by(|a, b| a.name.cmp(&b.name));
        found.query.sort_by(|a, b| a.name.cmp(&b.name));
    }
    found
}
