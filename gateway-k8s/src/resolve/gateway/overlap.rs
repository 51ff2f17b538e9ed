//! HTTPS listeners with overlapping hostnames: a client may reuse a connection to one listener for requests
//! to another (GEP-3567). Towergate returns 421 for such requests, so that the client opens another
//! connection.

use std::collections::HashSet;

use towergate_tls::NamePattern;

use super::super::indexed::ListenerIndex;
use super::listener::{ListenerList, ListenerState};
use super::protocol::ListenerProtocol;
use crate::status::{ConditionType, ListenerReason};

/// Sets the condition of overlapping listeners.
pub(super) fn check(listeners: &mut ListenerList<'_>) {
    let https: Vec<ListenerIndex> = (listeners.indices())
        .filter(|i| {
            listeners[*i].protocol == Some(ListenerProtocol::Https) && listeners[*i].ready()
        })
        .collect();
    for (reason, overlap) in [
        (
            ListenerReason::OverlappingHostnames,
            hostnames as fn(&ListenerState<'_>, &ListenerState<'_>) -> bool,
        ),
        (ListenerReason::OverlappingCertificates, certificates),
    ] {
        for i in &https {
            let other = https.iter().find(|j| {
                let (this, other) = (&listeners[*i], &listeners[**j]);
                i != *j && this.spec.port == other.spec.port && overlap(this, other)
            });
            if let Some(other) = other {
                let other = listeners[*other].spec.name.clone();
                let message =
                    format!("names of the listener overlap with the names of listener {other}");
                listeners[*i].conditions.set(
                    ConditionType::OverlappingTlsConfig,
                    true,
                    reason,
                    message,
                );
            }
        }
    }
}

fn hostnames(this: &ListenerState<'_>, other: &ListenerState<'_>) -> bool {
    this.hostname.intersect(&other.hostname).is_some()
}

fn certificates(this: &ListenerState<'_>, other: &ListenerState<'_>) -> bool {
    let names = |listener: &ListenerState<'_>| -> HashSet<NamePattern> {
        let certificates = listener.certificates.iter();
        certificates
            .flat_map(|certificate| certificate.names.iter().cloned())
            .collect()
    };
    let others = names(other);
    names(this)
        .iter()
        .any(|name| others.iter().any(|other| name.intersect(other).is_some()))
}
