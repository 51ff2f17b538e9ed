//! The certificates that a listener names.

use std::collections::HashSet;
use std::sync::Arc;

use towergate_tls::certificate::KeyAlgorithm;
use towergate_tls::{Certificate, NamePattern};

use super::super::grant::{From, To};
use super::super::world::World;
use super::listener::Owner;
use crate::api::GATEWAY_GROUP;
use crate::api::reference::SecretObjectReference;
use crate::objects::ObjectKey;

/// What the references of a listener led to.
#[derive(Debug)]
pub(super) enum Certificates {
    /// There are no references.
    None,
    /// None can be used.
    Unusable {
        reason: &'static str,
        message: String,
    },
    /// These can be used; the others have faults.
    Some {
        usable: Vec<Arc<Certificate>>,
        faults: String,
    },
}

/// Why a reference led to nothing.
#[derive(Debug)]
pub(super) struct Fault {
    /// `RefNotPermitted` or `InvalidCertificateRef`.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Resolves the references of a listener, in their order: of equal names the first wins.
pub(super) fn resolve(
    world: &World<'_>,
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
        let found = find(world, owner, reference).and_then(|certificate| {
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
        .join(" ");
    if !usable.is_empty() {
        return Certificates::Some {
            usable,
            faults: message,
        };
    }
    let ungranted = faults
        .iter()
        .all(|(_, fault)| fault.reason == "RefNotPermitted");
    Certificates::Unusable {
        reason: if ungranted {
            "RefNotPermitted"
        } else {
            "InvalidCertificateRef"
        },
        message: format!("No certificate can be used: {message}"),
    }
}

/// A second certificate for the same name with a key of the same kind would never be shown.
fn claim(
    taken: &mut HashSet<(NamePattern, KeyAlgorithm)>,
    certificate: &Certificate,
) -> Result<(), Fault> {
    let mut names = certificate.names.iter();
    let double = names.find(|name| taken.contains(&((*name).clone(), certificate.algorithm)));
    if let Some(name) = double {
        return Err(invalid(format!(
            "an earlier certificate is for {name} too, with a key of the same kind."
        )));
    }
    let names = certificate.names.iter().cloned();
    taken.extend(names.map(|name| (name, certificate.algorithm)));
    Ok(())
}

/// The certificate that `reference` names.
///
/// # Errors
/// Why there is none.
pub(super) fn find(
    world: &World<'_>,
    owner: Owner<'_>,
    reference: &SecretObjectReference,
) -> Result<Certificate, Fault> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    if (group, kind) != ("", "Secret") {
        return Err(invalid(format!(
            "{kind} of group {group:?} is no Secret of the core group."
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
        group: GATEWAY_GROUP,
        kind: owner.kind,
        namespace: own,
    };
    let to = To {
        group: "",
        kind: "Secret",
        namespace,
        name,
    };
    if !world.grants.permit(from, to) {
        return Err(Fault {
            reason: "RefNotPermitted",
            message: format!(
                "no ReferenceGrant permits the reference to Secret {namespace}/{name}."
            ),
        });
    }
    read(world, &ObjectKey::new(namespace, name))
}

/// The certificate of a Secret.
fn read(world: &World<'_>, key: &ObjectKey) -> Result<Certificate, Fault> {
    let Some(secret) = world.objects.secrets.get(key) else {
        let by = world.objects.issued.get(key);
        let by = by.map(|by| {
            format!(
                "; in a cluster cert-manager makes it for Certificate {by}, here write it to a file"
            )
        });
        return Err(invalid(format!(
            "there is no Secret {key}{}.",
            by.unwrap_or_default()
        )));
    };
    let kind = secret.spec.kind.as_deref().unwrap_or("Opaque");
    if kind != "kubernetes.io/tls" {
        return Err(invalid(format!(
            "Secret {key} is of type {kind}, not kubernetes.io/tls."
        )));
    }
    let value = |name: &str| match secret.spec.value(name) {
        Ok(Some(value)) if !value.is_empty() => Ok(value),
        Ok(_) => Err(invalid(format!("Secret {key} has no {name}."))),
        Err(fault) => Err(invalid(format!("{name} of Secret {key}: {fault}."))),
    };
    let (chain, private) = (value("tls.crt")?, value("tls.key")?);
    Certificate::from_pem_by(world.scope.provider.as_ref(), &chain, &private)
        .map_err(|fault| invalid(format!("Secret {key}: {fault}.")))
}

fn invalid(message: String) -> Fault {
    Fault {
        reason: "InvalidCertificateRef",
        message,
    }
}
