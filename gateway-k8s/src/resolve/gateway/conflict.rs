//! Conflicts between listeners of a Gateway and its ListenerSets.
//!
//! Listeners can share a port if they have the same protocol (HTTPS and TLS count as one) and no
//! two have the same hostname. None of the listeners in conflict is served, as it is ambiguous
//! which one is meant (Gateway API, `Listener`). However, listeners of the Gateway take precedence
//! over those of ListenerSets, and an older ListenerSet takes precedence over a younger one
//! (GEP-1713). An invalid listener conflicts with no other.

use std::collections::{BTreeMap, BTreeSet};

use super::super::indexed::{ListenerIndex, ListenerSetIndex};
use super::listener::{ListenerList, ListenerState};
use super::protocol::{ListenerProtocol, ProtocolFamily};
use crate::status::{ConditionType, ListenerReason};

/// Sets the conditions of listeners in conflict.
pub(super) fn check(listeners: &mut ListenerList<'_>) {
    let mut ports: BTreeMap<i32, Vec<ListenerIndex>> = BTreeMap::new();
    for (at, listener) in listeners.indexed() {
        if listener.valid {
            ports.entry(listener.spec.port).or_default().push(at);
        }
    }
    for at in ports.values() {
        protocols(listeners, at);
        hostnames(listeners, at);
        single(listeners, at, ListenerProtocol::Tcp);
        single(listeners, at, ListenerProtocol::Udp);
    }
}

/// Protocol family of a listener on a TCP socket. UDP listeners never conflict with other listeners.
fn family(listener: &ListenerState<'_>) -> Option<ProtocolFamily> {
    let family = listener.protocol?.family();
    (family != ProtocolFamily::Udp).then_some(family)
}

fn protocols(listeners: &mut ListenerList<'_>, at: &[ListenerIndex]) {
    // Protocol families of the listeners of the Gateway (`None`) and of each ListenerSet.
    let mut families: BTreeMap<Option<ListenerSetIndex>, BTreeSet<ProtocolFamily>> =
        BTreeMap::new();
    for i in at {
        let listener = &listeners[*i];
        let families = families.entry(listener.set).or_default();
        families.extend(family(listener));
    }
    let all: BTreeSet<_> = families.values().flatten().copied().collect();
    if all.len() < 2 {
        return;
    }
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    let message = format!(
        "listeners of one port must have one protocol; found {}",
        names.join(", ")
    );
    let torn = |owner| families.get(&owner).is_some_and(|spoken| spoken.len() > 1);
    let own = families.get(&None).filter(|own| !own.is_empty());
    // The first listener is served. If the Gateway or ListenerSet of this listener uses several protocols on
    // the port, no listener is served.
    let mut winner = own.and_then(|own| own.first().copied());
    for i in at {
        let set = listeners[*i].set;
        let Some(family) = family(&listeners[*i]) else {
            continue;
        };
        let lost = torn(None) || (own.is_none() && torn(set));
        if lost || *winner.get_or_insert(family) != family {
            listeners[*i].conflict(ListenerReason::ProtocolConflict, &message);
        }
    }
}

fn hostnames(listeners: &mut ListenerList<'_>, at: &[ListenerIndex]) {
    let mut same: BTreeMap<(Option<ProtocolFamily>, String), Vec<ListenerIndex>> = BTreeMap::new();
    for i in at {
        let listener = &listeners[*i];
        let family = family(listener);
        if matches!(family, Some(ProtocolFamily::Http | ProtocolFamily::Tls))
            && !listener.conditions.is_true(ConditionType::Conflicted)
        {
            let key = (family, listener.hostname.to_string());
            same.entry(key).or_default().push(*i);
        }
    }
    for group in same.values().filter(|group| group.len() > 1) {
        let names: Vec<_> = group
            .iter()
            .map(|i| listeners[*i].spec.name.as_str())
            .collect();
        let names = names.join(", ");
        let message = format!(
            "listeners of one port must have different hostnames; listeners {names} have the same hostname"
        );
        let winner = winner(listeners, group);
        for i in group.iter().filter(|i| Some(**i) != winner) {
            listeners[*i].conflict(ListenerReason::HostnameConflict, &message);
        }
    }
}

/// The listener that gets a hostname: that of the Gateway, or else the first of the oldest ListenerSet.
/// `None` if the Gateway or a ListenerSet has several listeners with the hostname.
fn winner(listeners: &ListenerList<'_>, group: &[ListenerIndex]) -> Option<ListenerIndex> {
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

/// TCP and UDP have no hostnames, so the first listener gets the port.
fn single(listeners: &mut ListenerList<'_>, at: &[ListenerIndex], protocol: ListenerProtocol) {
    let same = at
        .iter()
        .filter(|i| listeners[**i].protocol == Some(protocol));
    for i in same.copied().skip(1).collect::<Vec<_>>() {
        let message = format!("a port can have only one {protocol} listener");
        listeners[i].conflict(ListenerReason::ProtocolConflict, &message);
    }
}
