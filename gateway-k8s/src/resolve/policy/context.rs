//! Input of the conversion of a policy: the objects that it refers to, and facts about its target.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use towergate_core::plan::{Destination, WeightedBackend};
use towergate_policy::common::{BackendRef, ConfigMapRef, ObjectRef};
use towergate_policy::global_rate_limit::RateLimitService;
use towergate_policy::references::{ObjectData, author_and_name};
use towergate_policy::secret::SecretText;
use towergate_policy::{FieldError, References};

use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::super::route::Backends;
use super::object_data::{error, read};
use super::session_keys::session_keys;
use crate::api::ENVOY_GROUP;
use crate::api::reference::{BackendObjectReference, ParentReference};
use crate::objects::ObjectKey;

/// All objects that policies may refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyObjects<'c, 'a> {
    pub(in super::super) index: &'c ObjectIndex<'a>,
    /// Backends of routes. Backends of policies are added, so that their endpoints are also
    /// published.
    pub(in super::super) backends: &'c RefCell<Backends<'a>>,
}

/// The view of one policy: references are resolved in its namespace, with ReferenceGrants applied.
#[derive(Clone, Debug)]
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
    /// `namespace/name` of the Gateway and name of the listener. Empty if the policy does not count by
    /// listener.
    pub(crate) listener: &'c str,
    /// Annotations of the policy that have an effect. They take precedence over those of its
    /// parent.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl PolicyContext<'_, '_> {
    /// The referencing object, for ReferenceGrants, of references in a policy of the namespace `author`.
    fn referrer<'n>(&self, author: &'n str) -> From<'n> {
        From {
            group: ENVOY_GROUP,
            kind: self.kind,
            namespace: author,
        }
    }

    /// A reference to the policy itself.
    fn reference(&self) -> ParentReference {
        let name = self.policy.split_once('/').map(|(_, name)| name);
        ParentReference {
            group: Some(ENVOY_GROUP.to_owned()),
            kind: Some(self.kind.to_owned()),
            namespace: Some(self.namespace.to_owned()),
            name: name.unwrap_or(self.policy).to_owned(),
            section_name: None,
            port: None,
        }
    }
}

impl References for PolicyContext<'_, '_> {
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError> {
        let group = reference.group.as_deref().unwrap_or_default();
        let kind = reference.kind.as_deref().unwrap_or("Secret");
        if (group, kind) != ("", "Secret") {
            return error(field, format_args!("{kind} is not supported; use Secret"));
        }
        let (author, name) = author_and_name(self.namespace, reference.name.as_deref());
        let namespace = reference.namespace.as_deref().unwrap_or(author);
        let to = To {
            group,
            kind,
            namespace,
            name,
        };
        let key = ObjectKey::new(namespace, name);
        let index = self.objects.index;
        if !index.grants.permit(self.referrer(author), to) {
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
            return error(
                field,
                format_args!("{kind} is not supported; use ConfigMap"),
            );
        }
        let (author, name) = author_and_name(self.namespace, reference.name.as_deref());
        let key = ObjectKey::new(author, name);
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
        let ancestor = self.reference();
        for (at, reference) in references.iter().enumerate() {
            let field = format!("{field}[{at}]");
            let (author, name) = author_and_name(self.namespace, reference.name.as_deref());
            let written = BackendObjectReference {
                group: reference.group.clone(),
                kind: reference.kind.clone(),
                namespace: reference.namespace.clone(),
                name: name.to_owned(),
                port: reference.port.and_then(|port| port.try_into().ok()),
            };
            let from = self.referrer(author);
            let found = backends.resolve_of_policy(self.objects.index, from, &ancestor, &written);
            match found {
                Ok(mut backend) => {
                    if reference.fallback == Some(true) {
                        Arc::make_mut(&mut backend).fallback = true;
                    }
                    weighted.push(WeightedBackend {
                        weight: reference
                            .weight
                            .map_or(1, |weight| weight.try_into().unwrap_or(0)),
                        filters: Vec::new(),
                        destination: Destination::Backend(backend),
                    })
                }
                Err(message) => return error(&field, message),
            }
        }
        Ok(weighted)
    }

    fn policy_name(&self) -> &str {
        self.policy
    }

    fn geoip_databases(&self) -> &[PathBuf] {
        &self.objects.index.options.geoip_databases
    }

    fn session_keys(&self) -> Result<Vec<SecretText>, FieldError> {
        let options = &self.objects.index.options;
        let secret = options.session_keys.as_ref();
        let secret = secret.or(options.own_session_keys.as_ref());
        let owner = format!("SecurityPolicy {}", self.policy);
        session_keys(self.objects.index, secret, &owner, "spec.oidc")
    }

    fn rate_limit_service(&self) -> Option<RateLimitService> {
        self.objects.index.options.rate_limit_service.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::decode;
    use crate::resolve::ResolveOptions;

    const OBJECTS: &str = "
apiVersion: v1
kind: Secret
metadata: {name: own, namespace: apps}
stringData: {key: value}
---
apiVersion: v1
kind: Secret
metadata: {name: shared, namespace: secrets}
data: {key: dmFsdWU=}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: secrets}
spec:
  from: [{group: gateway.envoyproxy.io, kind: SecurityPolicy, namespace: apps}]
  to: [{group: '', kind: Secret}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: keys, namespace: apps}
data: {jwks: '{}'}
---
apiVersion: v1
kind: Service
metadata: {name: auth, namespace: apps}
spec: {ports: [{port: 9000}]}
";

    /// Runs `test` with the references of a policy of this kind in the namespace `apps`.
    fn with_context(kind: &'static str, test: impl FnOnce(&dyn References)) {
        let objects = decode("test.yaml", OBJECTS).objects;
        let options = ResolveOptions::default();
        let index = ObjectIndex::new(&objects, &options);
        let backends = RefCell::new(Backends::new(&index));
        test(&PolicyContext {
            objects: PolicyObjects {
                index: &index,
                backends: &backends,
            },
            kind,
            namespace: "apps",
            policy: "apps/policy",
            rate_limit_headers: false,
            listener: "",
            annotations: Default::default(),
        });
    }

    fn secret(name: &str, namespace: Option<&str>) -> ObjectRef {
        serde_json::from_value(json!({ "name": name, "namespace": namespace })).unwrap()
    }

    #[test]
    fn a_secret_of_another_namespace_needs_a_grant_for_the_kind_of_the_policy() {
        let value = || Ok(ObjectData::from([("key".to_owned(), b"value".to_vec())]));
        let shared = secret("shared", Some("secrets"));

        with_context("SecurityPolicy", |references| {
            assert_eq!(references.secret("spec.x", &secret("own", None)), value());
            assert_eq!(references.secret("spec.x", &shared), value());
        });
        with_context("BackendTrafficPolicy", |references| {
            let error = references.secret("spec.x", &shared).unwrap_err();
            let message =
                "spec.x: no ReferenceGrant permits the reference to Secret secrets/shared";
            assert_eq!((&*error.field, &*error.message), ("spec.x", message));
        });
    }

    #[test]
    fn an_error_names_the_field_and_the_object() {
        with_context("SecurityPolicy", |references| {
            let error = references.secret("spec.x", &secret("none", None));
            let message = "spec.x: Secret apps/none not found";
            assert_eq!(error.unwrap_err().message, message);

            let map = json!({ "kind": "ConfigMap", "name": "keys" });
            let map = references.config_map("spec.x", &serde_json::from_value(map).unwrap());
            assert_eq!(map.unwrap()["jwks"], b"{}");

            let backend = json!([{ "name": "auth", "port": 1 }]);
            let backend: Vec<BackendRef> = serde_json::from_value(backend).unwrap();
            let error = references.backends("spec.x.backendRefs", &backend);
            assert_eq!(error.unwrap_err().field, "spec.x.backendRefs[0]");
        });
    }

    #[test]
    fn session_keys_come_from_the_secret_of_the_operator_in_the_order_of_their_names() {
        let keys = |secret: &str, made: bool| {
            let objects = decode("test.yaml", secret).objects;
            let name = ObjectKey::new("system", "sessions");
            let other = ObjectKey::new("system", "other");
            let options = ResolveOptions {
                session_keys: (!made).then(|| name.clone()),
                own_session_keys: Some(if made { name } else { other }),
                ..ResolveOptions::default()
            };
            let index = ObjectIndex::new(&objects, &options);
            let backends = RefCell::new(Backends::new(&index));
            let context = PolicyContext {
                objects: PolicyObjects {
                    index: &index,
                    backends: &backends,
                },
                kind: "SecurityPolicy",
                namespace: "apps",
                policy: "apps/policy",
                rate_limit_headers: false,
                listener: "",
                annotations: Default::default(),
            };
            context.session_keys()
        };
        let (one, two) = ("1".repeat(32), "2".repeat(32));
        let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: sessions, namespace: system}\n";

        let text = format!("{head}stringData: {{b: '{two}', a: '{one}'}}");
        let (both, made) = (keys(&text, false), keys(&text, true));
        let short = keys(
            &format!("{head}stringData: {{a: '{one}', b: short}}"),
            false,
        );
        let missing = keys("", false);

        let owner = "SecurityPolicy apps/policy";
        let expected = [&one, &two].map(|key| SecretText::derived(key.as_bytes(), owner));
        assert_eq!(both.unwrap(), expected);
        assert_eq!(made.unwrap(), expected, "those of the controller");
        assert!(
            short
                .unwrap_err()
                .message
                .contains("b of Secret system/sessions")
        );
        let message = "spec.oidc: Secret system/sessions with the session keys not found";
        assert_eq!(missing.unwrap_err().message, message);
    }

    #[test]
    fn a_backend_of_a_policy_is_a_weighted_backend() {
        with_context("SecurityPolicy", |references| {
            let backend = json!([{ "name": "auth", "port": 9000, "weight": 3 }]);
            let backend: Vec<BackendRef> = serde_json::from_value(backend).unwrap();

            let found = references.backends("spec.x", &backend).unwrap();

            assert_eq!((found.len(), found[0].weight), (1, 3));
        });
    }
}
