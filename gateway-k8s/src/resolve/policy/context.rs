//! What the conversion of a policy may use: the objects that it refers to, and facts about its place.

use std::cell::RefCell;

use towergate_core::plan::{Destination, WeightedBackend};
use towergate_policy::common::{BackendRef, ConfigMapRef, ObjectRef};
use towergate_policy::references::ObjectData;
use towergate_policy::{FieldError, References};

use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::super::route::Backends;
use crate::api::ENVOY_GROUP;
use crate::api::reference::BackendObjectReference;
use crate::objects::ObjectKey;

/// All objects that policies may refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyObjects<'c, 'a> {
    pub(in super::super) index: &'c ObjectIndex<'a>,
    /// Backends of routes; those of policies are added, so that their endpoints are published, too.
    pub(in super::super) backends: &'c RefCell<Backends<'a>>,
}

/// The view of one policy: references are resolved in its namespace, with ReferenceGrants applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyContext<'c, 'a> {
    /// All objects.
    pub(crate) objects: PolicyObjects<'c, 'a>,
    /// Kind of the policy.
    pub(crate) kind: &'static str,
    /// Namespace of the policy.
    pub(crate) namespace: &'c str,
    /// `namespace/name` of the policy.
    pub(crate) policy: &'c str,
    /// Whether the listener sends `x-ratelimit-*`.
    pub(crate) rate_limit_headers: bool,
}

fn error<T>(field: &str, message: impl std::fmt::Display) -> Result<T, FieldError> {
    Err(FieldError {
        field: field.to_owned(),
        message: format!("{field}: {message}"),
    })
}

impl<'c> PolicyContext<'c, '_> {
    fn referrer(&self) -> From<'c> {
        From {
            group: ENVOY_GROUP,
            kind: self.kind,
            namespace: self.namespace,
        }
    }
}

/// The decoded values of an object.
fn read<'k>(
    field: &str,
    object: &str,
    keys: impl Iterator<Item = &'k String>,
    value: impl Fn(&str) -> Result<Option<Vec<u8>>, String>,
) -> Result<ObjectData, FieldError> {
    let mut data = ObjectData::new();
    for key in keys {
        match value(key) {
            Ok(value) => data.insert(key.clone(), value.unwrap_or_default()),
            Err(fault) => return error(field, format_args!("{key} of {object} is {fault}")),
        };
    }
    Ok(data)
}

impl References for PolicyContext<'_, '_> {
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError> {
        let group = reference.group.as_deref().unwrap_or_default();
        let kind = reference.kind.as_deref().unwrap_or("Secret");
        if (group, kind) != ("", "Secret") {
            return error(field, format_args!("{kind} is not supported, Secret is"));
        }
        let name = reference.name.as_deref().unwrap_or_default();
        let namespace = reference.namespace.as_deref().unwrap_or(self.namespace);
        let to = To {
            group,
            kind,
            namespace,
            name,
        };
        let key = ObjectKey::new(namespace, name);
        let index = self.objects.index;
        if !index.grants.permit(self.referrer(), to) {
            let message = format!("no ReferenceGrant permits the reference to Secret {key}");
            return error(field, message);
        }
        let Some(secret) = index.objects.secrets.get(&key) else {
            return error(field, format_args!("Secret {key} not found"));
        };
        let keys = secret
            .spec
            .data
            .keys()
            .chain(secret.spec.string_data.keys());
        let value = |name: &str| secret.spec.value(name);
        read(field, &format!("Secret {key}"), keys, value)
    }

    fn config_map(&self, field: &str, reference: &ConfigMapRef) -> Result<ObjectData, FieldError> {
        let group = reference.group.as_deref().unwrap_or_default();
        let kind = reference.kind.as_deref().unwrap_or("ConfigMap");
        if (group, kind) != ("", "ConfigMap") {
            return error(field, format_args!("{kind} is not supported, ConfigMap is"));
        }
        let name = reference.name.as_deref().unwrap_or_default();
        let key = ObjectKey::new(self.namespace, name);
        let Some(map) = self.objects.index.objects.config_maps.get(&key) else {
            return error(field, format_args!("ConfigMap {key} not found"));
        };
        let keys = map.spec.data.keys().chain(map.spec.binary_data.keys());
        let value = |name: &str| map.spec.value(name);
        read(field, &format!("ConfigMap {key}"), keys, value)
    }

    fn backends(
        &self,
        field: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        let mut backends = self.objects.backends.borrow_mut();
        let mut weighted = Vec::with_capacity(references.len());
        for (at, reference) in references.iter().enumerate() {
            let field = format!("{field}[{at}]");
            if reference.fallback == Some(true) {
                return error(&format!("{field}.fallback"), "true is not supported");
            }
            let written = BackendObjectReference {
                group: reference.group.clone(),
                kind: reference.kind.clone(),
                namespace: reference.namespace.clone(),
                name: reference.name.clone().unwrap_or_default(),
                port: reference.port.and_then(|port| port.try_into().ok()),
            };
            let found = backends.resolve_of_policy(self.objects.index, self.referrer(), &written);
            match found {
                Ok(backend) => weighted.push(WeightedBackend {
                    weight: reference
                        .weight
                        .map_or(1, |weight| weight.try_into().unwrap_or(0)),
                    filters: Vec::new(),
                    destination: Destination::Backend(backend),
                }),
                Err(message) => return error(&field, message),
            }
        }
        Ok(weighted)
    }
}
