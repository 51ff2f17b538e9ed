//! HTTPS listeners whose names overlap, so that a client may reuse a connection of one for the other
//! (GEP-3567). Towergate answers such requests with 421, so nothing is lost but a connection; the
//! condition tells the user.

use std::collections::HashSet;

use towergate_tls::NamePattern;

use super::listener::ListenerState;

/// States which listeners overlap.
pub(super) fn check(listeners: &mut [ListenerState<'_>]) {
    let https: Vec<usize> = (0..listeners.len())
        .filter(|i| listeners[*i].spec.protocol == "HTTPS" && listeners[*i].ready())
        .collect();
    for (reason, overlap) in [
        (
            "OverlappingHostnames",
            hostnames as fn(&ListenerState<'_>, &ListenerState<'_>) -> bool,
        ),
        ("OverlappingCertificates", certificates),
    ] {
        for i in &https {
            let other = https.iter().find(|j| {
                let (this, other) = (&listeners[*i], &listeners[**j]);
                i != *j && this.spec.port == other.spec.port && overlap(this, other)
            });
            if let Some(other) = other {
                let other = listeners[*other].spec.name.clone();
                let message = format!("Names of this listener belong to listener {other}, too.");
                listeners[*i]
                    .conditions
                    .set("OverlappingTLSConfig", true, reason, message);
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
