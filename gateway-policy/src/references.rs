//! The objects that a policy refers to.

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

/// Separator between the author's namespace and the object's name, in a reference that a policy
/// inherits.
///
/// It is random, so a policy cannot contain it and pretend to have another author.
static AUTHOR_END: LazyLock<String> =
    LazyLock::new(|| format!("/{:016x}/", RandomState::new().build_hasher().finish()));

/// The name of an object in a reference that a policy in `author` wrote, for a policy that inherits it.
pub fn name_with_author(author: &str, name: &str) -> String {
    format!("{author}{}{name}", *AUTHOR_END)
}

/// Whether a policy inherits the reference with this name.
pub(crate) fn has_author(name: &str) -> bool {
    name.contains(AUTHOR_END.as_str())
}

/// The namespace of the policy that wrote a reference, and the name of the object. `own` is the
/// namespace of the policy in force. A reference that it inherits by a [merge](crate::merge) has
/// another author; the author's namespace is the default for the object, and ReferenceGrants are
/// checked for it.
pub fn author_and_name<'r>(own: &'r str, name: Option<&'r str>) -> (&'r str, &'r str) {
    let name = name.unwrap_or_default();
    name.split_once(AUTHOR_END.as_str()).unwrap_or((own, name))
}

/// Resolves the references of one policy, for its conversion to values of the plan.
///
/// Implementations apply ReferenceGrants, and resolve the names by [`author_and_name`]. `field` is
/// the path of the reference, which errors contain. Their messages name the object.
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

    /// Keys that seal sessions in cookies: the first one seals, all of them open. Empty: the operator has supplied
    /// none.
    ///
    /// # Errors
    /// The operator has named a Secret that does not exist, or whose keys are too short.
    fn session_keys(&self) -> Result<Vec<SecretText>, FieldError> {
        Ok(Vec::new())
    }

    /// Files of the GeoIP databases on the data plane. Empty: the operator has named none.
    fn geoip_databases(&self) -> &[PathBuf] {
        &[]
    }

    /// The service that counts requests for global rate limits. `None`: the operator has named none.
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
