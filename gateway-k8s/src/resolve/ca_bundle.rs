//! CA certificates and revocation lists in ConfigMaps and Secrets.
//!
//! CA certificates are the value of key `ca.crt`, revocation lists that of key `ca.crl`. If the key is
//! missing and the object has exactly one key, that key is used, as in Envoy Gateway.

use towergate_tls::TlsError;
use towergate_tls::client::read_roots;
use towergate_tls::revocation::read_revocation_lists;

use super::grant::{From, To};
use super::object_index::ObjectIndex;
use crate::objects::ObjectKey;

/// Key of the CA certificates in a ConfigMap or Secret.
const CA_KEY: &str = "ca.crt";

/// Key of the revocation lists in a ConfigMap or Secret.
const REVOCATION_KEY: &str = "ca.crl";

/// Why a reference yields no CA certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CaErrorCause {
    /// The kind cannot hold CA certificates.
    Kind,
    /// No ReferenceGrant permits the reference.
    NotGranted,
    /// The object does not exist, or holds no valid CA certificates.
    Content,
}

/// A reference that yields no CA certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct InvalidCaReference {
    pub(super) why: CaErrorCause,
    /// Error message: a clause without a full stop.
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
    let text = find_text(index, from, to, CA_KEY, "CA certificates")?;
    check(&to, CA_KEY, read_roots(&text).map(drop))?;
    Ok(text)
}

/// The revocation lists that `from` references, as PEM. Each of them can be parsed.
///
/// # Errors
///
/// If the reference is not permitted, or the object is missing or has no valid revocation lists.
pub(super) fn find_revocation_lists(
    index: &ObjectIndex<'_>,
    from: From<'_>,
    to: To<'_>,
) -> Result<String, InvalidCaReference> {
    let text = find_text(index, from, to, REVOCATION_KEY, "revocation lists")?;
    check(&to, REVOCATION_KEY, read_revocation_lists(&text).map(drop))?;
    Ok(text)
}

fn check(to: &To<'_>, key: &str, read: Result<(), TlsError>) -> Result<(), InvalidCaReference> {
    let object = ObjectKey::new(to.namespace, to.name);
    read.map_err(|error| {
        let message = format!("{key} of {} {object}: {error}", to.kind);
        fault(CaErrorCause::Content, message)
    })
}

/// A kind that can hold CA certificates and revocation lists.
#[derive(Clone, Copy, Debug)]
enum TextHolder {
    ConfigMap,
    Secret,
}

impl TextHolder {
    fn from_kind(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("", "ConfigMap") => Some(Self::ConfigMap),
            ("", "Secret") => Some(Self::Secret),
            _ => None,
        }
    }
}

/// The text under `default_key`, or under the only key, of a ConfigMap or Secret.
fn find_text(
    index: &ObjectIndex<'_>,
    from: From<'_>,
    to: To<'_>,
    default_key: &str,
    what: &str,
) -> Result<String, InvalidCaReference> {
    let To {
        group,
        kind,
        namespace,
        name,
    } = to;
    let holder = TextHolder::from_kind(group, kind).ok_or_else(|| {
        let message = format!("kind {kind} cannot hold {what}; use ConfigMap");
        fault(CaErrorCause::Kind, message)
    })?;
    let key = ObjectKey::new(namespace, name);
    if !index.grants.permit(from, to) {
        return Err(fault(
            CaErrorCause::NotGranted,
            format!("no ReferenceGrant permits the reference to {kind} {key}"),
        ));
    }
    let broken = |message: String| fault(CaErrorCause::Content, message);
    let missing = || broken(format!("{kind} {key} not found"));
    let value = match holder {
        TextHolder::ConfigMap => {
            let found = index.objects.config_maps.get(&key).ok_or_else(missing)?;
            let keys = found.spec.data.keys().chain(found.spec.binary_data.keys());
            choose_key(keys, default_key).map(|name| found.spec.value(name))
        }
        TextHolder::Secret => {
            let found = index.objects.secrets.get(&key).ok_or_else(missing)?;
            let keys = found.spec.data.keys().chain(found.spec.string_data.keys());
            choose_key(keys, default_key).map(|name| found.spec.value(name))
        }
    };
    let bytes = value
        .ok_or_else(|| broken(format!("{kind} {key} has no {default_key}")))?
        .map_err(|fault| broken(format!("{default_key} of {kind} {key} is {fault}")))?
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The key `default_key`, or the only key.
fn choose_key<'k>(
    names: impl Iterator<Item = &'k String>,
    default_key: &str,
) -> Option<&'k String> {
    let names: Vec<_> = names.collect();
    match names.as_slice() {
        [only] => Some(*only),
        names => names.iter().find(|name| **name == default_key).copied(),
    }
}

/// CA certificates, or revocation lists, of several references.
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

    /// The messages of all invalid references, each with its path below `field`.
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
