//! Trusted certificates: those that a ConfigMap or a Secret holds.
//!
//! They are under `ca.crt`, or the object's only value, as in Envoy Gateway.

use towergate_tls::client::read_roots;

use super::grant::{From, To};
use super::world::World;
use crate::objects::ObjectKey;

/// The name under which trusted certificates are.
const AUTHORITY: &str = "ca.crt";

/// Why a reference leads to no trusted certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Why {
    /// No such kind can hold any.
    Kind,
    /// Its namespace does not permit it.
    NotGranted,
    /// It is not there, or holds none.
    Content,
}

/// A reference that leads to no trusted certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) why: Why,
    /// A sentence, without a full stop.
    pub(super) message: String,
}

fn fault(why: Why, message: String) -> Fault {
    Fault { why, message }
}

/// The trusted certificates that `from` refers to, as PEM; each can be read.
///
/// # Errors
/// Why there are none.
pub(super) fn find(world: &World<'_>, from: From<'_>, to: To<'_>) -> Result<String, Fault> {
    let To {
        group,
        kind,
        namespace,
        name,
    } = to;
    if !matches!((group, kind), ("", "ConfigMap" | "Secret")) {
        return Err(fault(
            Why::Kind,
            format!("{kind} is no kind of CA certificates: ConfigMap is"),
        ));
    }
    let key = ObjectKey::new(namespace, name);
    if !world.grants.permit(from, to) {
        return Err(fault(
            Why::NotGranted,
            format!("no ReferenceGrant permits the reference to {kind} {key}"),
        ));
    }
    let broken = |message: String| fault(Why::Content, message);
    let missing = || broken(format!("there is no {kind} {key}"));
    let value = match kind {
        "ConfigMap" => {
            let found = world.objects.config_maps.get(&key).ok_or_else(missing)?;
            let keys = found.spec.data.keys().chain(found.spec.binary_data.keys());
            authority(keys).map(|name| found.spec.value(name))
        }
        _ => {
            let found = world.objects.secrets.get(&key).ok_or_else(missing)?;
            let keys = found.spec.data.keys().chain(found.spec.string_data.keys());
            authority(keys).map(|name| found.spec.value(name))
        }
    };
    let bytes = value
        .ok_or_else(|| broken(format!("{kind} {key} has no {AUTHORITY}")))?
        .map_err(|fault| broken(format!("{AUTHORITY} of {kind} {key} is {fault}")))?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    read_roots(&text).map_err(|fault| broken(format!("{AUTHORITY} of {kind} {key}: {fault}")))?;
    Ok(text)
}

/// Which of the names has the trusted certificates: `ca.crt`, or the only one.
fn authority<'k>(names: impl Iterator<Item = &'k String>) -> Option<&'k String> {
    let names: Vec<_> = names.collect();
    match names.as_slice() {
        [only] => Some(*only),
        names => names.iter().find(|name| **name == AUTHORITY).copied(),
    }
}

/// Trusted certificates of several references.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Bundle {
    /// As PEM; empty: there are none.
    pub(super) pem: String,
    /// What is wrong with references, with the place of each.
    pub(super) faults: Vec<(usize, Fault)>,
}

impl Bundle {
    /// Adds what the next reference led to.
    pub(super) fn add(&mut self, at: usize, found: Result<String, Fault>) {
        match found {
            Ok(text) => {
                self.pem.push_str(text.trim_end());
                self.pem.push('\n');
            }
            Err(fault) => self.faults.push((at, fault)),
        }
    }

    /// What is wrong with all that are wrong, as sentences.
    pub(super) fn message(&self, field: &str) -> String {
        let faults = self.faults.iter();
        let sentences = faults.map(|(at, fault)| format!("{field}[{at}]: {}.", fault.message));
        sentences.collect::<Vec<_>>().join(" ")
    }

    /// Why the first of those that are wrong is.
    pub(super) fn why(&self) -> Option<Why> {
        self.faults.first().map(|(_, fault)| fault.why)
    }
}
