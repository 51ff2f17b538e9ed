//! Certificates that clients reject.

use std::collections::BTreeSet;

use towergate_tls::{Certificate, NamePattern};

use super::super::gateway::{GatewayState, Gateways, ListenerProtocol, ListenerState};
use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::super::route::RouteState;
use crate::finding::FindingCode;

/// Remaining validity below which a certificate is reported, in seconds.
const SOON: i64 = 7 * 24 * 3600;

/// Reports expired certificates, and hostnames without a certificate.
pub(super) fn check(
    index: &ObjectIndex<'_>,
    gateways: &Gateways<'_>,
    routes: &[RouteState<'_>],
    report: &mut Report,
) {
    for gateway in &gateways.list {
        for listener in &gateway.listeners {
            if let Some(now) = index.options.now {
                validity(gateway, listener, now, report);
            }
        }
    }
    for state in routes {
        let mut reported = BTreeSet::new();
        for attachment in &state.attachments {
            let gateway = &gateways.list[attachment.gateway];
            for (listener, hosts) in &attachment.listeners {
                let listener = &gateway.listeners[*listener];
                if listener.protocol != Some(ListenerProtocol::Https)
                    || listener.certificates.is_empty()
                {
                    continue;
                }
                let uncovered = hosts
                    .iter()
                    .filter(|host| !covered(host, &listener.certificates));
                for host in uncovered {
                    if reported.insert((host.to_string(), &*listener.spec.name)) {
                        uncovered_host(state, gateway, listener, host, report);
                    }
                }
            }
        }
    }
}

fn uncovered_host(
    state: &RouteState<'_>,
    gateway: &GatewayState<'_>,
    listener: &ListenerState<'_>,
    host: &NamePattern,
    report: &mut Report,
) {
    let hostnames = state.route.hostnames();
    let field = match hostnames.iter().position(|name| *name == host.to_string()) {
        Some(at) => format!("spec.hostnames[{at}]"),
        None => "spec".to_owned(),
    };
    report.warn(
        FindingCode::HostnameWithoutCertificate,
        &state.route.subject(),
        field,
        format!(
            "no certificate of listener {:?} of Gateway {} covers {host}; clients will reject the first certificate",
            listener.spec.name,
            gateway.object.key()
        ),
        "add a certificate for the hostname to certificateRefs of the listener",
    );
}

fn validity(
    gateway: &GatewayState<'_>,
    listener: &ListenerState<'_>,
    now: i64,
    report: &mut Report,
) {
    for certificate in &listener.certificates {
        let subject = gateway.subject(listener.set);
        let field = format!("spec.listeners[{}].tls.certificateRefs", listener.at);
        let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
        let what = format!(
            "the certificate for {} of listener {:?}",
            names.join(", "),
            listener.spec.name
        );
        if certificate.not_after < now {
            let message = format!("{what} expired on {}", day(certificate.not_after));
            report.error(
                FindingCode::CertificateExpired,
                &subject,
                field,
                message,
                "renew the certificate",
            );
        } else if certificate.not_before > now {
            let message = format!("{what} is not valid before {}", day(certificate.not_before));
            let help = "check the clocks of this machine and of the issuer";
            report.error(
                FindingCode::CertificateNotYetValid,
                &subject,
                field,
                message,
                help,
            );
        } else if certificate.not_after - now < SOON {
            let message = format!("{what} expires on {}", day(certificate.not_after));
            report.warn(
                FindingCode::CertificateExpiresSoon,
                &subject,
                field,
                message,
                "renew the certificate",
            );
        }
    }
}

/// The day of a time in seconds since the epoch, in UTC, such as `2027-01-15`. The computation uses
/// years that begin in March, so that a leap day is the last day of its year.
fn day(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Whether a certificate covers a hostname. A wildcard in a certificate matches one label (RFC 9525,
/// section 6.3).
fn covered(host: &NamePattern, certificates: &[std::sync::Arc<Certificate>]) -> bool {
    let mut names = certificates
        .iter()
        .flat_map(|certificate| &certificate.names);
    names.any(|name| match (host, name) {
        (NamePattern::Any, _) => true,
        (NamePattern::Exact(host), NamePattern::Wildcard(suffix)) => {
            host.split_once('.').is_some_and(|(_, rest)| rest == suffix)
        }
        (host, name) => host == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_covered(host: &str, names: &[&str]) -> bool {
        let certificate = Certificate {
            chain_pem: String::new(),
            key_pem: String::new(),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            not_before: 0,
            not_after: 0,
            algorithm: towergate_tls::certificate::KeyAlgorithm::Ecdsa,
        };
        covered(&host.parse().unwrap(), &[certificate.into()])
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_800_000_000, "2027-01-15"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(seconds), expected);
        }
    }

    #[test]
    fn a_wildcard_of_a_certificate_stands_for_one_label() {
        assert!(is_covered("a.example.com", &["*.example.com"]));
        assert!(is_covered("*.example.com", &["*.example.com"]));
        assert!(!is_covered("a.b.example.com", &["*.example.com"]));
        assert!(!is_covered("example.com", &["*.example.com"]));
        assert!(!is_covered("*.example.com", &["a.example.com"]));
        assert!(is_covered("example.com", &["other.example", "example.com"]));
    }
}
