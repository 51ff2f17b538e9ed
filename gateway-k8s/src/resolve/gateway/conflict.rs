//! Listeners of one Gateway that contradict each other.
//!
//! Listeners share a port if they all speak the same protocol (HTTPS and TLS do, by SNI) and no two
//! take exactly the same host names. Of listeners that contradict each other none is served, since
//! nobody knows which was meant (Gateway API, `Listener`). A listener that is wrong by itself conflicts
//! with nobody.

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

fn conflict(listener: &mut ListenerState<'_>, reason: &'static str, message: &str) {
    listener.conditions.set("Conflicted", true, reason, message);
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
    let families: BTreeSet<_> = at
        .iter()
        .filter_map(|i| family(&listeners[*i].spec.protocol))
        .collect();
    if families.len() < 2 {
        return;
    }
    let families = families.into_iter().collect::<Vec<_>>().join(", ");
    let message = format!("Listeners of one port must speak one protocol, not {families}.");
    for i in at {
        if family(&listeners[*i].spec.protocol).is_some() {
            conflict(&mut listeners[*i], "ProtocolConflict", &message);
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
        for i in group {
            conflict(&mut listeners[*i], "HostnameConflict", &message);
        }
    }
}

/// TCP and UDP have no host names, so the first listener has the port for itself.
fn single(listeners: &mut [ListenerState<'_>], at: &[usize], protocol: &str) {
    let same = at
        .iter()
        .filter(|i| listeners[**i].spec.protocol == protocol);
    for i in same.copied().skip(1).collect::<Vec<_>>() {
        let message = format!("A port has one {protocol} listener at most.");
        conflict(&mut listeners[i], "ProtocolConflict", &message);
    }
}
