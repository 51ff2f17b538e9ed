//! CA certificates in ConfigMaps and Secrets.
//!
//! They are the value of `ca.crt`, or the only value of the object, as in Envoy Gateway.

use towergate_tls::client::read_roots;

use super::grant::{From, To};
use super::object_index::ObjectIndex;
use crate::objects::ObjectKey;

/// Key of the CA certificates in a ConfigMap or Secret.
const CA_KEY: &str = "ca.crt";

/// Cause of a reference that leads to no CA certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CaErrorCause {
    /// The kind cannot hold CA certificates.
    Kind,
    /// No ReferenceGrant permits the reference.
    NotGranted,
    /// The object does not exist, or holds no valid CA certificates.
    Content,
}

/// A reference that leads to no CA certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct InvalidCaReference {
    pub(super) why: CaErrorCause,
    /// A clause without full stop.
    pub(super) message: String,
}

fn fault(why: CaErrorCause, message: String) -> InvalidCaReference {
    InvalidCaReference { why, message }
}

/// The CA certificates that `from` references, as PEM. Each of them can be parsed.
///
/// # Errors
///
/// If the reference is not permitted, or the object is missing or has no valid CA certificates.
pub(super) fn find(
    index: &ObjectIndex<'_>,
    from: From<'_>,
    to: To<'_>,
) -> Result<String, InvalidCaReference> {
    let To {
        group,
        kind,
        namespace,
        name,
    } = to;
    if !matches!((group, kind), ("", "ConfigMap" | "Secret")) {
        return Err(fault(
            CaErrorCause::Kind,
            format!("kind {kind} cannot hold CA certificates; use ConfigMap"),
        ));
    }
    let key = ObjectKey::new(namespace, name);
    if !index.grants.permit(from, to) {
        return Err(fault(
            CaErrorCause::NotGranted,
            format!("no ReferenceGrant permits the reference to {kind} {key}"),
        ));
    }
    let broken = |message: String| fault(CaErrorCause::Content, message);
    let missing = || broken(format!("{kind} {key} not found"));
    let value = match kind {
        "ConfigMap" => {
            let found = index.objects.config_maps.get(&key).ok_or_else(missing)?;
            let keys = found.spec.data.keys().chain(found.spec.binary_data.keys());
            ca_key(keys).map(|name| found.spec.value(name))
        }
        _ => {
            let found = index.objects.secrets.get(&key).ok_or_else(missing)?;
            let keys = found.spec.data.keys().chain(found.spec.string_data.keys());
            ca_key(keys).map(|name| found.spec.value(name))
        }
    };
    let bytes = value
        .ok_or_else(|| broken(format!("{kind} {key} has no {CA_KEY}")))?
        .map_err(|fault| broken(format!("{CA_KEY} of {kind} {key} is {fault}")))?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    read_roots(&text).map_err(|fault| broken(format!("{CA_KEY} of {kind} {key}: {fault}")))?;
    Ok(text)
}

/// The key with the CA certificates: `ca.crt`, or the only key.
fn ca_key<'k>(names: impl Iterator<Item = &'k String>) -> Option<&'k String> {
    let names: Vec<_> = names.collect();
    match names.as_slice() {
        [only] => Some(*only),
        names => names.iter().find(|name| **name == CA_KEY).copied(),
    }
}

/// CA certificates of several references.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct CaBundle {
    /// PEM; empty if no reference is usable.
    pub(super) pem: String,
    /// Invalid references, each with its index.
    pub(super) faults: Vec<(usize, InvalidCaReference)>,
}

impl CaBundle {
    /// Adds the result of the reference at index `at`.
    pub(super) fn add(&mut self, at: usize, found: Result<String, InvalidCaReference>) {
        match found {
            Ok(text) => {
                self.pem.push_str(text.trim_end());
                self.pem.push('\n');
            }
            Err(fault) => self.faults.push((at, fault)),
        }
    }

    /// The errors of all invalid references.
    pub(super) fn message(&self, field: &str) -> String {
        let faults = self.faults.iter();
        let messages = faults.map(|(at, fault)| format!("{field}[{at}]: {}", fault.message));
        messages.collect::<Vec<_>>().join("; ")
    }

    /// Cause of the first invalid reference.
    pub(super) fn why(&self) -> Option<CaErrorCause> {
        self.faults.first().map(|(_, fault)| fault.why)
    }
}
