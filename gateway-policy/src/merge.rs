//! Merge of a route's policy with the policy of its parent.
//!
//! Both merge types merge the serialized documents: objects are merged field by field, and the route's policy
//! takes precedence. They differ in lists. `JSONMerge` (RFC 7396) replaces each list. `StrategicMerge` merges
//! lists whose items have a merge key item by item, and replaces all other lists.
//!
//! Before the merge, both documents receive the defaults of the schema, as from an API server. A field that
//! the route's policy does not set may therefore replace the field of its parent: if the route's policy has
//! `extAuth` without `failOpen`, the result has `failOpen: false`.
//!
//! References of the parent are resolved in the namespace of the parent, with the grants of that namespace.
//! For this purpose, the merge prefixes their names with the namespace: see
//! [`author_and_name`](crate::references::author_and_name).

use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::FieldError;
use crate::backend_traffic::{BackendTrafficPolicySpec, MergeType};
use crate::check::{Check, Report};
use crate::references::{has_author, name_with_author};
use crate::schema::{Schema, add_defaults};
use crate::security::SecurityPolicySpec;

/// Lists that a strategic merge merges item by item. The merge key is `type`.
const NAMED_LISTS: [&str; 3] = ["compression", "compressor", "httpUpgrade"];

/// The spec of a policy that can be merged with its parent.
pub trait MergedSpec: Check + Clone + DeserializeOwned + Serialize {
    /// `mergeType`.
    fn merge_type(&self) -> Option<&MergeType>;

    /// The schema of the spec.
    fn merged_schema() -> &'static Value;
}

impl MergedSpec for BackendTrafficPolicySpec {
    fn merge_type(&self) -> Option<&MergeType> {
        self.merge_type.as_ref()
    }

    fn merged_schema() -> &'static Value {
        static SCHEMA: LazyLock<Value> = LazyLock::new(BackendTrafficPolicySpec::schema);
        &SCHEMA
    }
}

impl MergedSpec for SecurityPolicySpec {
    fn merge_type(&self) -> Option<&MergeType> {
        self.merge_type.as_ref()
    }

    fn merged_schema() -> &'static Value {
        static SCHEMA: LazyLock<Value> = LazyLock::new(SecurityPolicySpec::schema);
        &SCHEMA
    }
}

/// Fields that are not inherited from the parent.
const OWN: [&str; 4] = ["targetRef", "targetRefs", "targetSelectors", "mergeType"];

/// Merges `patch` into `parent`, which is in the namespace `namespace`, by the `mergeType` of `patch`.
/// Without a `mergeType`, the result is `patch`.
///
/// # Errors
/// The result violates a rule that both inputs satisfy, for example that `extAuth` has only one service.
pub fn merge<S: MergedSpec>(parent: &S, namespace: &str, patch: &S) -> Result<S, FieldError> {
    let strategic = match patch.merge_type() {
        Some(MergeType::StrategicMerge) => true,
        Some(MergeType::JsonMerge) => false,
        None | Some(MergeType::Replace | MergeType::Other(_)) => return Ok(patch.clone()),
    };
    let mut merged = document(parent);
    name_author(&mut merged, parent, namespace);
    for field in OWN {
        merged.remove(field);
    }
    let fields = document(patch);
    keep_secrets_of_service(&mut merged, &fields);
    merge_objects(&mut merged, fields, strategic);
    let merged: S = serde_json::from_value(Value::Object(merged))
        .expect("both specs were deserialized from the same types");
    let known = [parent, patch].map(|spec| Report::of(spec).violations);
    let mut violations = Report::of(&merged).violations.into_iter();
    match violations.find(|violation| !known.iter().flatten().any(|own| own == violation)) {
        Some(violation) => Err(violation.into()),
        None => Ok(merged),
    }
}

/// Removes the parent's context values that come from Secrets, if the patch configures another authorization
/// service. Otherwise these Secrets would be sent to that service.
fn keep_secrets_of_service(parent: &mut Map<String, Value>, patch: &Map<String, Value>) {
    let own = patch.get("extAuth");
    let names_service = own.is_some_and(|own| own.get("grpc").or(own.get("http")).is_some());
    let inherited = parent.get_mut("extAuth");
    let inherited = inherited.and_then(|section| section.get_mut("contextExtensions"));
    if let Some(Value::Array(values)) = inherited.filter(|_| names_service) {
        values.retain(|value| value.get("valueRef").is_none());
    }
}

/// Prefixes the names in a policy's references with its namespace.
fn name_author(document: &mut Map<String, Value>, spec: &impl Check, namespace: &str) {
    for path in Report::of(spec).references {
        let mut steps = path.split('.').skip(1);
        let first = steps.next().unwrap_or_default();
        let (name, indices) = first.split_once('[').unwrap_or((first, ""));
        let found = document.get_mut(name).and_then(|v| below(v, indices));
        let found = steps.fold(found, |value, step| {
            let (name, indices) = step.split_once('[').unwrap_or((step, ""));
            below(value?.get_mut(name)?, indices)
        });
        if let Some(Value::String(name)) = found.and_then(|reference| reference.get_mut("name"))
            && !has_author(name)
        {
            *name = name_with_author(namespace, name);
        }
    }
}

/// The item of the list `value` at `indices`: the part `0]` of a path step such as `backendRefs[0]`. If the
/// step has no index, `value` itself.
fn below<'v>(value: &'v mut Value, indices: &str) -> Option<&'v mut Value> {
    match indices.strip_suffix(']') {
        Some(index) => value.get_mut(index.parse::<usize>().ok()?),
        None => Some(value),
    }
}

/// The document of a spec, with the defaults of its schema.
fn document<S: MergedSpec>(spec: &S) -> Map<String, Value> {
    let mut document = serde_json::to_value(spec).unwrap_or_default();
    add_defaults(S::merged_schema(), &mut document);
    let fields = document.as_object_mut();
    std::mem::take(fields.expect("a spec serializes to an object"))
}

fn merge_objects(target: &mut Map<String, Value>, patch: Map<String, Value>, strategic: bool) {
    for (name, value) in patch {
        match (target.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_objects(old, new, strategic),
            (Some(Value::Array(old)), Value::Array(new))
                if strategic && NAMED_LISTS.contains(&name.as_str()) =>
            {
                merge_lists(old, new);
            }
            (_, value) => {
                target.insert(name, value);
            }
        }
    }
}

fn merge_lists(target: &mut Vec<Value>, patch: Vec<Value>) {
    for item in patch {
        let same = target
            .iter_mut()
            .find(|old| old.get("type") == item.get("type"));
        match (same, item) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_objects(old, new, true),
            (_, item) => target.push(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(parent: Value, patch: Value) -> Value {
        merged_specs::<BackendTrafficPolicySpec>(parent, patch)
    }

    fn merged_specs<S: MergedSpec>(parent: Value, patch: Value) -> Value {
        let parent: S = serde_json::from_value(parent).unwrap();
        let patch = serde_json::from_value(patch).unwrap();

        serde_json::to_value(merge(&parent, "infra", &patch).unwrap()).unwrap()
    }

    #[test]
    fn every_reference_of_the_parent_names_its_namespace() {
        let parent = json!({
            "basicAuth": {"users": {"name": "users"}},
            "apiKeyAuth": {"credentialRefs": [{"name": "a"}, {"name": "b", "namespace": "keys"}]},
            "jwt": {"providers": [
                {"name": "local", "localJWKS": {"valueRef": {"kind": "ConfigMap", "name": "keys"}}},
                {"name": "remote", "remoteJWKS": {"uri": "http://a", "backendRefs": [{"name": "idp"}]}},
            ]},
            "oidc": {"clientSecret": {"name": "client"}, "provider": {"backendRef": {"name": "idp"}}},
            "extAuth": {"http": {"backendRefs": [{"name": "auth", "port": 80}]}},
        });
        let patch = json!({
            "mergeType": "JSONMerge",
            "basicAuth": {"users": {"name": "mine"}},
        });

        let mut spec = merged_specs::<SecurityPolicySpec>(parent.clone(), patch);

        let mut expected = parent;
        add_defaults(SecurityPolicySpec::merged_schema(), &mut expected);
        expected["mergeType"] = json!("JSONMerge");
        expected["basicAuth"]["users"]["name"] = json!("mine");
        for path in [
            "/apiKeyAuth/credentialRefs/0",
            "/apiKeyAuth/credentialRefs/1",
            "/jwt/providers/0/localJWKS/valueRef",
            "/jwt/providers/1/remoteJWKS/backendRefs/0",
            "/oidc/clientSecret",
            "/oidc/provider/backendRef",
            "/extAuth/http/backendRefs/0",
        ] {
            let name = &mut expected.pointer_mut(path).unwrap()["name"];
            *name = json!(name_with_author("infra", name.as_str().unwrap()));
        }
        assert_eq!(spec.take(), expected);
    }

    #[test]
    fn a_policy_cannot_claim_to_be_another_author() {
        use crate::references::author_and_name;

        assert_eq!(
            author_and_name("evil", Some("victim/key")),
            ("evil", "victim/key")
        );
        let inherited = name_with_author("infra", "key");
        assert_eq!(author_and_name("apps", Some(&inherited)), ("infra", "key"));
    }

    #[test]
    fn a_merge_that_breaks_a_rule_is_an_error() {
        let parent: SecurityPolicySpec = serde_json::from_value(json!({
            "extAuth": {"grpc": {"backendRefs": [{"name": "auth", "port": 9000}]}},
        }))
        .unwrap();
        let patch = serde_json::from_value(json!({
            "mergeType": "JSONMerge",
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
            "extAuth": {"http": {"backendRefs": [{"name": "admins", "port": 80}]}},
        }))
        .unwrap();

        assert!(merge(&parent, "infra", &patch).is_err());
    }

    #[test]
    fn the_parents_secrets_are_not_sent_to_a_service_of_the_patch() {
        let context = json!([
            {"name": "a", "type": "Value", "value": "b"},
            {"name": "c", "type": "ValueRef", "valueRef": {"kind": "Secret", "name": "s", "key": "k"}},
        ]);
        let parent = json!({"extAuth": {
            "grpc": {"backendRefs": [{"name": "auth", "port": 9000}]}, "contextExtensions": context,
        }});
        let patch = json!({
            "mergeType": "JSONMerge",
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
            "extAuth": {"grpc": {"backendRefs": [{"name": "mine", "port": 9000}]}},
        });

        let spec = merged_specs::<SecurityPolicySpec>(parent, patch);

        assert_eq!(spec["extAuth"]["contextExtensions"], json!([context[0]]));
    }

    #[test]
    fn objects_are_merged_and_the_patch_takes_precedence() {
        let spec = merged(
            json!({
                "targetRefs": [{"name": "gateway"}],
                "timeout": {"http": {"requestTimeout": "1s"}, "tcp": {"connectTimeout": "2s"}},
            }),
            json!({
                "targetRefs": [{"name": "route"}],
                "mergeType": "JSONMerge",
                "timeout": {"http": {"requestTimeout": "9s"}},
            }),
        );

        assert_eq!(
            spec,
            json!({
                "targetRefs": [{"name": "route"}],
                "mergeType": "JSONMerge",
                "timeout": {"http": {"requestTimeout": "9s"}, "tcp": {"connectTimeout": "2s"}},
            })
        );
    }

    #[test]
    fn defaults_of_the_patch_replace_values_of_the_parent() {
        let spec = merged(
            json!({
                "circuitBreaker": {"maxParallelRequests": 1},
                "faultInjection": {"abort": {"httpStatus": 418, "percentage": 0}},
                "retry": {"numRetries": 9},
            }),
            json!({
                "mergeType": "JSONMerge",
                "circuitBreaker": {"maxConnections": 100},
                "faultInjection": {"abort": {"httpStatus": 418}},
            }),
        );

        let breaker = &spec["circuitBreaker"];
        assert_eq!(breaker["maxParallelRequests"], 1024);
        assert_eq!(breaker["maxConnections"], 100);
        assert_eq!(spec["faultInjection"]["abort"]["percentage"], 100.0);
        assert_eq!(spec["retry"]["numRetries"], 9);

        let service = json!({"backendRefs": [{"name": "auth", "port": 80}]});
        let spec = merged_specs::<SecurityPolicySpec>(
            json!({"extAuth": {"failOpen": true, "http": service}}),
            json!({
                "mergeType": "StrategicMerge",
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
                "extAuth": {"timeout": "1s", "http": service},
            }),
        );
        assert_eq!(spec["extAuth"]["failOpen"], false);
    }

    #[test]
    fn only_a_strategic_merge_merges_lists_by_key() {
        for (kind, expected) in [
            ("JSONMerge", json!([{"type": "websocket"}])),
            (
                "StrategicMerge",
                json!([{"type": "spdy/3.1"}, {"type": "websocket"}]),
            ),
        ] {
            let spec = merged(
                json!({"httpUpgrade": [{"type": "spdy/3.1"}]}),
                json!({"httpUpgrade": [{"type": "websocket"}], "mergeType": kind}),
            );

            assert_eq!(spec["httpUpgrade"], expected, "{kind}");
        }
    }

    #[test]
    fn without_a_merge_type_the_parent_is_ignored() {
        let spec = merged(json!({"retry": {}}), json!({"circuitBreaker": {}}));

        assert_eq!(spec, json!({"circuitBreaker": {}}));
    }

    #[test]
    fn the_parents_targets_and_merge_type_are_not_inherited() {
        let spec = merged(
            json!({"targetRef": {"name": "gateway"}, "targetSelectors": [{"kind": "Gateway"}]}),
            json!({"targetRefs": [{"name": "route"}], "mergeType": "StrategicMerge"}),
        );

        assert_eq!(
            spec,
            json!({"targetRefs": [{"name": "route"}], "mergeType": "StrategicMerge"})
        );
    }
}
