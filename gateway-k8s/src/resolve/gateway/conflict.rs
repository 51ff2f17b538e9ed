//! Listeners of one Gateway and its ListenerSets that contradict each other.
//!
//! Listeners share a port if they all speak the same protocol (HTTPS and TLS do, by SNI) and no two
//! take exactly the same host names. Of listeners that contradict each other none is served, since
//! nobody knows which was meant (Gateway API, `Listener`); but the Gateway's own go before those of
//! ListenerSets, and an older ListenerSet before a younger one (GEP-1713). A listener that is wrong by
//! itself conflicts with nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::listener::ListenerState;

/// States the conflicts among listeners of a Gateway.
pub(super) fn check(listeners: &mut [ListenerState<'_>]) {
    let mut ports: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (at, listener) in listeners.iter().enumerate() {
        if listener.valid {
            ports.entry(listener.spec.port).or_default().push(at);
        }
    }
    for at in ports.values() {
        protocols(listeners, at);
        hostnames(listeners, at);
        single(listeners, at, "TCP");
        single(listeners, at, "UDP");
    }
}

/// What a port's listeners must have in common. UDP is a world of its own.
fn family(protocol: &str) -> Option<&str> {
    match protocol {
        "UDP" => None,
        "TLS" => Some("HTTPS"),
        other => Some(other),
    }
}

fn protocols(listeners: &mut [ListenerState<'_>], at: &[usize]) {
    // What is spoken by the Gateway's own listeners, and by those of each ListenerSet.
    let mut families: BTreeMap<Option<usize>, BTreeSet<&str>> = BTreeMap::new();
    for i in at {
        let listener = &listeners[*i];
        let (set, spec) = (listener.set, listener.spec);
        let family = family(&spec.protocol);
        families.entry(set).or_default().extend(family);
    }
    let all: BTreeSet<_> = families.values().flatten().copied().collect();
    if all.len() < 2 {
        return;
    }
    let message = format!(
        "Listeners of one port must speak one protocol, not {}.",
        all.into_iter().collect::<Vec<_>>().join(", ")
    );
    let torn = |owner| families.get(&owner).is_some_and(|spoken| spoken.len() > 1);
    let own = families.get(&None).filter(|own| !own.is_empty());
    // The first has its way, unless the Gateway, or else the ListenerSet, contradicts itself.
    let mut winner = own.and_then(|own| own.first().copied());
    for i in at {
        let (set, spec) = (listeners[*i].set, listeners[*i].spec);
        let Some(family) = family(&spec.protocol) else {
            continue;
        };
        let lost = torn(None) || (own.is_none() && torn(set));
        if lost || *winner.get_or_insert(family) != family {
            listeners[*i].conflict("ProtocolConflict", &message);
        }
    }
}

fn hostnames(listeners: &mut [ListenerState<'_>], at: &[usize]) {
    let mut same: BTreeMap<(bool, String), Vec<usize>> = BTreeMap::new();
    for i in at {
        let listener = &listeners[*i];
        let protocol = listener.spec.protocol.as_str();
        if matches!(protocol, "HTTP" | "HTTPS" | "TLS")
            && !listener.conditions.says("Conflicted", true)
        {
            let key = (protocol == "HTTP", listener.hostname.to_string());
            same.entry(key).or_default().push(*i);
        }
    }
    for group in same.values().filter(|group| group.len() > 1) {
        let names: Vec<_> = group
            .iter()
            .map(|i| listeners[*i].spec.name.as_str())
            .collect();
        let names = names.join(", ");
        let message = format!("Listeners of one port must differ in hostname: {names} do not.");
        let winner = winner(listeners, group);
        for i in group.iter().filter(|i| Some(**i) != winner) {
            listeners[*i].conflict("HostnameConflict", &message);
        }
    }
}

/// Which of the listeners that want the same host names has them: the Gateway's own, or else the first
/// of the oldest ListenerSet. Nobody, if the Gateway or one of the ListenerSets contradicts itself.
fn winner(listeners: &[ListenerState<'_>], group: &[usize]) -> Option<usize> {
    let first = *group.first()?;
    let mut owners = BTreeSet::new();
    let double: BTreeSet<_> = group
        .iter()
        .map(|i| listeners[*i].set)
        .filter(|set| !owners.insert(*set))
        .collect();
    match listeners[first].set {
        None => (!double.contains(&None)).then_some(first),
        Some(_) => double.is_empty().then_some(first),
    }
}

/// TCP and UDP have no host names, so the first listener has the port for itself.
fn single(listeners: &mut [ListenerState<'_>], at: &[usize], protocol: &str) {
    let same = at
        .iter()
        .filter(|i| listeners[**i].spec.protocol == protocol);
    for i in same.copied().skip(1).collect::<Vec<_>>() {
        let message = format!("A port has one {protocol} listener at most.");
        listeners[i].conflict("ProtocolConflict", &message);
    }
}
