//! TLS of hosts: their certificates, and the verification of clients and of backends.
//!
//! All Ingresses of a host share the TLS settings of the host. In most cases, these are the settings of the
//! oldest Ingress that has such settings. Settings of canaries are used for `auth-tls-*` and `proxy-ssl-*`,
//! but not for certificates.

use std::collections::{BTreeMap, BTreeSet};

use super::aliases::{KnownNames, is_valid_for, names};
use super::controller::ControllerConfig;
use super::input::{Ingress, Manifests};
use super::servers::{Overlap, OverlapKind, ReadIngress, Server, Servers, host_of};
use crate::objects::ObjectKey;

/// Adds the Secrets of TLS sections, and determines which hosts have a certificate. A host has a certificate
/// if an Ingress with its rules has a TLS section, even if the section does not name the host.
pub(super) fn add_certificates(
    built: &mut Servers<'_>,
    index: &BTreeMap<String, usize>,
    manifests: &Manifests,
) {
    let mut decided = BTreeSet::new();
    for read in &built.ingresses {
        let ingress = read.ingress;
        for tls in &ingress.spec.tls {
            for host in tls.hosts.iter().map(|host| host.to_ascii_lowercase()) {
                built.tls_names.insert(host.clone());
                if let Some(secret) = &tls.secret_name {
                    let secret = ObjectKey::new(&*ingress.key.namespace, &**secret);
                    add(built.certificates.entry(host).or_default(), secret);
                }
            }
        }
        if read.settings.canary.is_some() || ingress.spec.tls.is_empty() {
            continue;
        }
        for rule in &ingress.spec.rules {
            let host = host_of(rule.host.as_deref());
            if host.is_empty() || !index.contains_key(&host) || !decided.insert(host.clone()) {
                continue;
            }
            for secret in secrets_for(ingress, &host, manifests) {
                add(built.certificates.entry(host.clone()).or_default(), secret);
            }
            built.tls_hosts.insert(host);
        }
    }
    let tls: Vec<bool> = built
        .servers
        .iter()
        .map(|server| built.has_certificate(&server.host))
        .collect();
    for (server, tls) in built.servers.iter_mut().zip(tls) {
        server.tls = tls;
    }
}

fn add(secrets: &mut Vec<ObjectKey>, secret: ObjectKey) {
    if !secrets.contains(&secret) {
        secrets.push(secret);
    }
}

/// Secrets of the TLS sections of `ingress` for a host that no section names: the first one whose certificate is valid
/// for the host, or all that the manifests do not contain.
fn secrets_for(ingress: &Ingress, host: &str, manifests: &Manifests) -> Vec<ObjectKey> {
    let sections = &ingress.spec.tls;
    let mut hosts = sections.iter().flat_map(|tls| &tls.hosts);
    if hosts.any(|name| name.eq_ignore_ascii_case(host)) {
        return Vec::new();
    }
    let secrets = sections.iter().filter_map(|tls| tls.secret_name.as_ref());
    let mut unknown = Vec::new();
    for name in secrets {
        let secret = ObjectKey::new(&*ingress.key.namespace, &**name);
        match names(manifests, &secret) {
            KnownNames::Of(names) if names.iter().any(|name| is_valid_for(name, host)) => {
                return vec![secret];
            }
            KnownNames::Of(_) | KnownNames::Default => {}
            KnownNames::Unknown => unknown.push(secret),
        }
    }
    unknown
}

/// Determines the Ingress whose `auth-tls-secret` applies to each host, and the Ingress whose
/// `proxy-ssl-secret` applies.
pub(super) fn add_verification(
    built: &mut Servers<'_>,
    index: &BTreeMap<String, usize>,
    config: &ControllerConfig,
) {
    let Servers {
        ingresses,
        servers,
        overlaps,
        ..
    } = built;
    let shares_backend_settings = !config.bool("proxy-ssl-location-only", false);
    for (number, read) in ingresses.iter().enumerate() {
        for rule in &read.ingress.spec.rules {
            let host = host_of(rule.host.as_deref());
            if rule.http.is_none() && !host.is_empty() {
                continue;
            }
            // A canary of a host without another Ingress changes the server of all other hosts.
            let server = &mut servers[index.get(&host).copied().unwrap_or(0)];
            server.refused |= read.settings.refuses_hosts;
            add_verifier(server, number, ingresses, overlaps);
            if shares_backend_settings && read.settings.backend.ssl.is_some() {
                server.proxy_ssl.get_or_insert(number);
            }
        }
    }
    for server in servers {
        let verifier = server.verifier.filter(|_| !server.refused);
        server.verifier = verifier;
        server.client_cert = verifier.filter(|index| {
            let client = ingresses[*index].settings.client_cert.as_ref();
            client.is_some_and(|client| !client.off)
        });
    }
}

fn add_verifier(
    server: &mut Server,
    number: usize,
    ingresses: &[ReadIngress<'_>],
    overlaps: &mut BTreeSet<Overlap>,
) {
    let settings = &ingresses[number].settings;
    if settings.client_cert.is_none() {
        return;
    }
    let owner = *server.verifier.get_or_insert(number);
    let first = &ingresses[owner].settings;
    if settings.client_cert != first.client_cert || settings.match_subject != first.match_subject {
        overlaps.insert(Overlap {
            ingress: number,
            winner: Some(owner),
            what: OverlapKind::ClientCertificate(server.host.clone()),
        });
    }
}
