//! Certificates of listeners.

use std::collections::HashSet;
use std::sync::Arc;

use towergate_tls::certificate::KeyAlgorithm;
use towergate_tls::{Certificate, NamePattern};

use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::owner::Owner;
use crate::api::reference::SecretObjectReference;
use crate::objects::ObjectKey;
use crate::status::ListenerReason;

/// Result of the certificate references of a listener.
#[derive(Debug)]
pub(super) enum Certificates {
    /// There are no references.
    None,
    /// No certificate is usable.
    Unusable {
        reason: ListenerReason,
        message: String,
    },
    /// Some certificates are usable. `faults` describes the certificates that are not.
    Some {
        usable: Vec<Arc<Certificate>>,
        faults: String,
    },
}

/// A reference without a usable certificate.
#[derive(Debug)]
pub(super) struct InvalidReference {
    pub(super) cause: ReferenceError,
    pub(super) message: String,
}

/// Cause of an unusable reference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReferenceError {
    /// No ReferenceGrant permits the reference.
    NotGranted,
    /// The Secret is missing, or its certificate is not usable.
    Unusable,
}

/// Resolves the references of a listener in order. If several certificates have the same name, the first one
/// is used.
pub(super) fn resolve(
    index: &ObjectIndex<'_>,
    owner: Owner<'_>,
    refs: &[SecretObjectReference],
) -> Certificates {
    if refs.is_empty() {
        return Certificates::None;
    }
    let mut usable: Vec<Arc<Certificate>> = Vec::new();
    let mut faults = Vec::new();
    let mut taken = HashSet::new();
    for (at, reference) in refs.iter().enumerate() {
        let found = find(index, owner, reference).and_then(|certificate| {
            claim(&mut taken, &certificate)?;
            Ok(certificate)
        });
        match found {
            Ok(certificate) => usable.push(Arc::new(certificate)),
            Err(fault) => faults.push((at, fault)),
        }
    }
    let message = faults
        .iter()
        .map(|(at, fault)| format!("certificateRefs[{at}]: {}", fault.message))
        .collect::<Vec<_>>()
        .join("; ");
    if !usable.is_empty() {
        return Certificates::Some {
            usable,
            faults: message,
        };
    }
    let ungranted = faults
        .iter()
        .all(|(_, fault)| fault.cause == ReferenceError::NotGranted);
    Certificates::Unusable {
        reason: if ungranted {
            ListenerReason::RefNotPermitted
        } else {
            ListenerReason::InvalidCertificateRef
        },
        message: format!("no certificate is usable: {message}"),
    }
}

/// Rejects a certificate that has the names and the key algorithm of an earlier certificate: TLS would never
/// select it.
fn claim(
    taken: &mut HashSet<(NamePattern, KeyAlgorithm)>,
    certificate: &Certificate,
) -> Result<(), InvalidReference> {
    let mut names = certificate.names.iter();
    let double = names.find(|name| taken.contains(&((*name).clone(), certificate.algorithm)));
    if let Some(name) = double {
        return Err(invalid(format!(
            "an earlier certificate covers {name} with the same key algorithm"
        )));
    }
    let names = certificate.names.iter().cloned();
    taken.extend(names.map(|name| (name, certificate.algorithm)));
    Ok(())
}

/// The certificate that `reference` names.
///
/// # Errors
///
/// If the reference is not permitted, or the Secret is missing or invalid.
pub(super) fn find(
    index: &ObjectIndex<'_>,
    owner: Owner<'_>,
    reference: &SecretObjectReference,
) -> Result<Certificate, InvalidReference> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    if (group, kind) != ("", "Secret") {
        return Err(invalid(format!(
            "{kind} of group {group:?} is not supported; reference a Secret"
        )));
    }
    let own = owner.namespace;
    let namespace = reference
        .namespace
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(own);
    let name = reference.name.as_str();
    let from = From {
        group: owner.group,
        kind: owner.kind,
        namespace: own,
    };
    let to = To {
        group: "",
        kind: "Secret",
        namespace,
        name,
    };
    if !index.grants.permit(from, to) {
        return Err(InvalidReference {
            cause: ReferenceError::NotGranted,
            message: format!(
                "no ReferenceGrant permits the reference to Secret {namespace}/{name}"
            ),
        });
    }
    read(index, &ObjectKey::new(namespace, name))
}

/// The certificate of a Secret.
fn read(index: &ObjectIndex<'_>, key: &ObjectKey) -> Result<Certificate, InvalidReference> {
    let Some(secret) = index.objects.secrets.get(key) else {
        let by = index.objects.issued.get(key);
        let by = by.map(|by| {
            format!(
                "; in a cluster, cert-manager creates it for Certificate {by}; here, write it to a file"
            )
        });
        return Err(invalid(format!(
            "Secret {key} not found{}",
            by.unwrap_or_default()
        )));
    };
    let kind = secret.spec.kind.as_deref().unwrap_or("Opaque");
    if kind != "kubernetes.io/tls" {
        return Err(invalid(format!(
            "Secret {key} has type {kind}, not kubernetes.io/tls"
        )));
    }
    let value = |name: &str| match secret.spec.value(name) {
        Ok(Some(value)) if !value.is_empty() => Ok(value),
        Ok(_) => Err(invalid(format!("Secret {key} has no {name}"))),
        Err(fault) => Err(invalid(format!("{name} of Secret {key}: {fault}"))),
    };
    let (chain, private) = (value("tls.crt")?, value("tls.key")?);
    Certificate::from_pem_by(index.options.provider.as_ref(), &chain, &private)
        .map_err(|fault| invalid(format!("Secret {key}: {fault}")))
}

fn invalid(message: String) -> InvalidReference {
    InvalidReference {
        cause: ReferenceError::Unusable,
        message,
    }
}
