//! Certificates for the names of `server-alias`.
//!
//! If the certificate of a host is valid for an alias, ingress-nginx uses the certificate for the alias too.
//! Requests to all other aliases of the host are not redirected to HTTPS.

use towergate_tls::{Certificate, NamePattern};

use super::input::{Manifests, SecretData};
use super::servers::{Server, Servers};
use crate::objects::ObjectKey;

/// Whether ingress-nginx has a certificate for an alias of `server`. `None`: unknown, because the manifests
/// do not contain the certificate of the host and no TLS section names the alias.
pub(crate) fn has_certificate(
    servers: &Servers<'_>,
    manifests: &Manifests,
    server: &Server,
    alias: &str,
) -> Option<bool> {
    let wildcard = alias
        .split_once('.')
        .map(|(_, parent)| format!("*.{parent}"));
    if wildcard.is_some_and(|wildcard| servers.tls_hosts.contains(&wildcard)) {
        return Some(true);
    }
    let secrets = servers.certificates.get(&server.host);
    let Some(secret) = secrets.and_then(|secrets| secrets.first()) else {
        // The host has no certificate of its own that could cover the alias.
        return Some(false);
    };
    match names(manifests, secret) {
        KnownNames::Of(names) => Some(names.iter().any(|name| is_valid_for(name, alias))),
        KnownNames::Default => Some(false),
        KnownNames::Unknown => servers.tls_names.contains(alias).then_some(true),
    }
}

/// The names of a certificate.
pub(super) enum KnownNames {
    Of(Vec<NamePattern>),
    /// The Secret has no certificate, so ingress-nginx uses the default certificate.
    Default,
    Unknown,
}

/// The names of the certificate in a Secret.
pub(super) fn names(manifests: &Manifests, secret: &ObjectKey) -> KnownNames {
    let complete = !manifests.endpoint_owners.is_empty();
    let Some(data) = manifests.secrets.get(secret) else {
        return match complete {
            true => KnownNames::Default,
            false => KnownNames::Unknown,
        };
    };
    match (pem(data, "tls.crt"), pem(data, "tls.key")) {
        (Some(chain), Some(key)) => match Certificate::from_pem_by(None, chain, key) {
            Ok(certificate) => KnownNames::Of(certificate.names),
            Err(_) => KnownNames::Unknown,
        },
        _ => KnownNames::Default,
    }
}

fn pem<'a>(secret: &'a SecretData, key: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(secret.values.get(key)?).ok()?;
    text.starts_with("-----BEGIN").then_some(text)
}

/// Whether a name of a certificate covers a host. A wildcard matches one label, or the same wildcard.
pub(super) fn is_valid_for(name: &NamePattern, host: &str) -> bool {
    match name {
        NamePattern::Exact(name) => name == host,
        NamePattern::Wildcard(suffix) => {
            host.split_once('.').is_some_and(|(_, rest)| rest == suffix)
        }
        NamePattern::Any => true,
    }
}
