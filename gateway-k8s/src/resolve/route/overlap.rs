//! Routes that match the same requests: one of them never gets them.

use std::collections::{BTreeSet, HashMap};

use towergate_core::plan::Match;
use towergate_tls::NamePattern;

use super::RouteState;

/// The listener, the host name and what else is compared.
type Place = (usize, usize, NamePattern, Match);

/// States which routes have matches that another route has, too, for the same hosts of a listener.
#[expect(
    clippy::mutable_key_type,
    reason = "a `Text` is compared and hashed by its source"
)]
pub(super) fn check(routes: &mut [RouteState<'_>]) {
    let mut places: HashMap<Place, BTreeSet<usize>> = HashMap::new();
    for (at, state) in routes.iter().enumerate() {
        for attachment in &state.attachments {
            for (listener, hosts) in &attachment.listeners {
                for host in hosts {
                    for found in state.rules.iter().flat_map(|rule| &rule.matches) {
                        let place = (
                            attachment.gateway,
                            *listener,
                            host.clone(),
                            canonical(found),
                        );
                        places.entry(place).or_default().insert(at);
                    }
                }
            }
        }
    }
    let mut others: HashMap<(usize, usize, usize), BTreeSet<usize>> = HashMap::new();
    for ((gateway, listener, ..), routes) in places.into_iter().filter(|(_, r)| r.len() > 1) {
        for route in &routes {
            let rest = routes.iter().copied().filter(|other| other != route);
            others
                .entry((*route, gateway, listener))
                .or_default()
                .extend(rest);
        }
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

/// The order of headers and parameters does not matter.
fn canonical(found: &Match) -> Match {
    let mut found = found.clone();
    found.headers.sort_by(|a, b| a.name.cmp(&b.name));
    found.query.sort_by(|a, b| a.name.cmp(&b.name));
    found
}
