//! The objects to which a policy refers.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::LazyLock;

use towergate_core::plan::WeightedBackend;

use crate::FieldError;
use crate::common::{BackendRef, ConfigMapRef, ObjectRef};
use crate::global_rate_limit::RateLimitService;
use crate::secret::SecretText;

/// Decoded values of a Secret or ConfigMap, by key.
pub type ObjectData = BTreeMap<String, Vec<u8>>;

/// Separator between namespace and name, in a reference that a policy inherits from its parent.
///
/// The separator is random, so a policy cannot contain it to pretend that its reference is inherited.
static AUTHOR_END: LazyLock<String> =
    LazyLock::new(|| format!("/{:016x}/", RandomState::new().build_hasher().finish()));

/// The name in a reference that a policy inherits. `author` is the namespace of the policy that contains the
/// reference.
pub fn name_with_author(author: &str, name: &str) -> String {
    format!("{author}{}{name}", *AUTHOR_END)
}

/// Whether a reference with this name is inherited.
pub(crate) fn has_author(name: &str) -> bool {
    name.contains(AUTHOR_END.as_str())
}

/// The namespace of the policy that contains a reference, and the name of the object. `own` is the namespace
/// of the policy that is applied. For a reference that a [merge](crate::merge) inherited, the namespace is
/// that of the parent. The namespace is the default for the object, and ReferenceGrants are checked for it.
pub fn author_and_name<'r>(own: &'r str, name: Option<&'r str>) -> (&'r str, &'r str) {
    let name = name.unwrap_or_default();
    name.split_once(AUTHOR_END.as_str()).unwrap_or((own, name))
}

/// Resolves the references of one policy, for its conversion to values of the plan.
///
/// Implementations apply ReferenceGrants, and resolve names with [`author_and_name`]. `field` is the path of
/// the reference. Errors contain this path, and their messages contain the name of the object.
pub trait References: Debug {
    /// The values of a Secret.
    ///
    /// # Errors
    /// The Secret does not exist, the reference to it is not permitted, or a value is not base64.
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError>;

    /// The values of a ConfigMap in the namespace of the policy.
    ///
    /// # Errors
    /// The ConfigMap does not exist, or has a value that is not base64.
    fn config_map(&self, field: &str, reference: &ConfigMapRef) -> Result<ObjectData, FieldError>;

    /// The backends of a service that the policy calls, for
    /// [`BuildContext::http_client`](towergate_core::policy::BuildContext::http_client).
    ///
    /// # Errors
    /// A backend does not exist, the reference to it is not permitted, or it is not supported.
    fn backends(
        &self,
        field: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError>;

    /// `namespace/name` of the policy. Distinguishes the sessions of policies.
    fn policy_name(&self) -> &str {
        ""
    }

    /// Keys that seal sessions in cookies. The first key seals, and all keys open. Empty: the operator has
    /// configured none.
    ///
    /// # Errors
    /// The configured Secret does not exist, or one of its keys is too short.
    fn session_keys(&self) -> Result<Vec<SecretText>, FieldError> {
        Ok(Vec::new())
    }

    /// Files of the GeoIP databases on the data plane. Empty: the operator has configured none.
    fn geoip_databases(&self) -> &[PathBuf] {
        &[]
    }

    /// The service that counts requests for global rate limits. `None`: the operator has configured none.
    fn rate_limit_service(&self) -> Option<RateLimitService> {
        None
    }
}

/// An empty set of objects: every reference is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReferences;

impl References for NoReferences {
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError> {
        not_found(field, "Secret", reference.name.as_deref())
    }

    fn config_map(&self, field: &str, reference: &ConfigMapRef) -> Result<ObjectData, FieldError> {
        not_found(field, "ConfigMap", reference.name.as_deref())
    }

    fn backends(
        &self,
        field: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        match references.first() {
            None => Ok(Vec::new()),
            Some(first) => not_found(field, "Service", first.name.as_deref()),
        }
    }
}

fn not_found<T>(field: &str, kind: &str, name: Option<&str>) -> Result<T, FieldError> {
    let name = name.unwrap_or_default();
    Err(FieldError::invalid(
        field,
        format_args!("{kind} {name} not found"),
    ))
}
