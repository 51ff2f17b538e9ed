//! Patches of rendered objects (`patch` of an EnvoyProxy). Pure functions.
//!
//! A JSON merge patch (RFC 7396) replaces lists. A strategic merge patch merges the lists of
//! Kubernetes that have a merge key item by item, and supports the directive `$patch`. The identity
//! of an object is kept: name, namespace, owner, selector, the labels by which the controller finds
//! it, and the ServiceAccount of pods.
//!
//! Patches are written for pods of Envoy. A container `envoy` stands for the container of the data
//! plane. Its image and command line are ignored, and so are patches of containers `shutdown-manager`.

use serde_json::{Map, Value};
use towergate_policy::envoy_proxy::{ObjectPatch, PatchKind};

use super::deployment::CONTAINER;
use super::metadata::Manifest;

/// Merge keys of the lists in Deployments, DaemonSets, Services, autoscalers and disruption budgets. If a
/// list has several merge keys, an item is identified by the first key that is present in the item of the
/// patch. All other lists are replaced.
const MERGE_KEYS: [(&str, &[&str]); 9] = [
    ("containers", &["name"]),
    ("env", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ports", &["port", "containerPort", "name"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];
/// Fields of an Envoy container that do not apply to the data plane.
const OF_ENVOY: [&str; 3] = ["image", "command", "args"];

/// Applies a patch to an object.
pub(super) fn apply(manifest: Manifest, patch: Option<&ObjectPatch>) -> Manifest {
    let value = patch.and_then(|patch| patch.value.as_ref());
    let (Some(patch), Some(Value::Object(value))) = (patch, value) else {
        return manifest;
    };
    let mut value = Value::Object(value.clone());
    adapt(&mut value);
    let mut patched = manifest.clone();
    match patch.kind {
        Some(PatchKind::JsonMerge) => json_merge(&mut patched.body, &value),
        _ => strategic_merge(&mut patched.body, &value),
    }
    keep_identity(&mut patched.body, &manifest.body);
    patched
}

/// Adapts a patch of pods of Envoy to pods of data planes.
fn adapt(patch: &mut Value) {
    let pod = &mut patch["spec"]["template"]["spec"];
    if let Some(Value::Array(containers)) = pod.get_mut("containers") {
        containers.retain(|container| container["name"] != "shutdown-manager");
        for container in containers {
            if container["name"] == "envoy" {
                container["name"] = CONTAINER.into();
                if let Some(container) = container.as_object_mut() {
                    container.retain(|field, _| !OF_ENVOY.contains(&&**field));
                }
            }
        }
    }
    remove_nulls_of_indexing(patch);
}

/// Indexing into the patch adds nulls on the path to the pod. Removes these nulls, and the objects that
/// contain nothing else.
fn remove_nulls_of_indexing(patch: &mut Value) {
    if patch["spec"]["template"]["spec"].is_null()
        && let Some(template) = patch["spec"]["template"].as_object_mut()
    {
        template.remove("spec");
    }
    let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    if let Some(spec) = patch["spec"].as_object_mut()
        && spec.get("template").is_some_and(empty)
    {
        spec.remove("template");
    }
    if empty(&patch["spec"])
        && let Some(patch) = patch.as_object_mut()
    {
        patch.remove("spec");
    }
}

/// Restores the identity of an object.
fn keep_identity(patched: &mut Value, original: &Value) {
    for field in ["apiVersion", "kind"] {
        patched[field] = original[field].clone();
    }
    for field in ["name", "namespace", "ownerReferences"] {
        patched["metadata"][field] = original["metadata"][field].clone();
    }
    keep_labels(&mut patched["metadata"], &original["metadata"]);
    if !original["spec"]["selector"].is_null() {
        patched["spec"]["selector"] = original["spec"]["selector"].clone();
    }
    let template = &original["spec"]["template"]["metadata"];
    if !template.is_null() {
        keep_labels(&mut patched["spec"]["template"]["metadata"], template);
        // A patch must not give pods the permissions of another ServiceAccount.
        let pod = &original["spec"]["template"]["spec"];
        for field in ["serviceAccountName", "automountServiceAccountToken"] {
            if !pod[field].is_null() {
                patched["spec"]["template"]["spec"][field] = pod[field].clone();
            }
        }
    }
}

fn keep_labels(patched: &mut Value, original: &Value) {
    for (key, value) in original["labels"].as_object().into_iter().flatten() {
        patched["labels"][key] = value.clone();
    }
}

/// RFC 7396.
fn json_merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.remove(key)),
            value => json_merge(target.entry(key.as_str()).or_insert(Value::Null), value),
        }
    }
}

/// Merges a patch into an object. Lists that have a merge key are merged item by item.
fn strategic_merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let replaces = patch.get("$patch").is_some_and(|how| how == "replace");
    if !target.is_object() || replaces {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch.iter().filter(|(key, _)| *key != "$patch") {
        match value {
            Value::Null => drop(target.remove(key)),
            Value::Object(fields) if fields.get("$patch").is_some_and(|how| how == "delete") => {
                target.remove(key);
            }
            Value::Array(items) => {
                let list = target.entry(key.as_str()).or_insert(Value::Null);
                let merge_key = MERGE_KEYS.iter().find(|(name, _)| name == key);
                match (list, merge_key) {
                    (Value::Array(list), Some((_, keys))) => merge_list(list, items, keys),
                    (list, _) => *list = Value::Array(plain(items)),
                }
            }
            value => strategic_merge(target.entry(key.as_str()).or_insert(Value::Null), value),
        }
    }
}

/// Merges `items` into a list. An item is identified by the value of the first of `keys` that it has.
fn merge_list(list: &mut Vec<Value>, items: &[Value], keys: &[&str]) {
    if items.iter().any(|item| item["$patch"] == "replace") {
        *list = plain(items);
        return;
    }
    for item in items {
        let key = keys.iter().find(|key| !item[**key].is_null());
        let held = key.and_then(|key| list.iter().position(|held| is_same(held, item, key)));
        match (held, item["$patch"] == "delete") {
            (Some(at), true) => drop(list.remove(at)),
            (None, true) => {}
            (Some(at), false) => strategic_merge(&mut list[at], item),
            (None, false) => list.push(item.clone()),
        }
    }
}

/// Whether an item of a patch applies to `held`. Ports are compared by transport too, because a TCP port and
/// a UDP port may have the same number.
fn is_same(held: &Value, item: &Value, key: &str) -> bool {
    let protocol = &item["protocol"];
    held[key] == item[key] && (protocol.is_null() || held["protocol"] == *protocol)
}

/// Items without directives.
fn plain(items: &[Value]) -> Vec<Value> {
    let items = items.iter().filter(|item| item["$patch"] != "replace");
    items.cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kind::Kind;
    use super::super::tests::gateway;
    use super::*;

    fn patched(kind: PatchKind, value: Value) -> Value {
        let rest = json!({ "spec": {
            "selector": { "matchLabels": { "a": "b" } },
            "template": {
                "metadata": { "labels": { "a": "b" } },
                "spec": {
                    "serviceAccountName": "none",
                    "containers": [{ "name": CONTAINER, "image": "i", "args": ["run"], "env": [{ "name": "A", "value": "1" }] }],
                    "tolerations": [{ "key": "x" }],
                },
            },
        } });
        let manifest = Manifest::new(Kind::Deployment, &gateway("shared"), "n".to_owned(), rest);
        let patch = ObjectPatch {
            kind: Some(kind),
            value: Some(value),
        };
        apply(manifest, Some(&patch)).body
    }

    #[test]
    fn a_strategic_patch_merges_containers_by_name_and_replaces_other_lists() {
        let body = patched(
            PatchKind::StrategicMerge,
            json!({ "spec": { "template": { "spec": {
                "hostNetwork": true,
                "tolerations": [{ "key": "y" }],
                "containers": [
                    { "name": "envoy", "image": "envoy", "env": [{ "name": "B", "value": "2" }] },
                    { "name": "shutdown-manager", "env": [] },
                    { "name": "sidecar", "image": "s" },
                ],
            } } } }),
        );

        let pod = &body["spec"]["template"]["spec"];
        assert_eq!(pod["hostNetwork"], true);
        assert_eq!(pod["tolerations"], json!([{ "key": "y" }]));
        assert_eq!(
            pod["containers"],
            json!([
                {
                    "name": CONTAINER, "image": "i", "args": ["run"],
                    "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
                },
                { "name": "sidecar", "image": "s" },
            ])
        );
    }

    #[test]
    fn a_json_merge_patch_replaces_lists_and_removes_fields() {
        let value = json!({ "spec": { "strategy": { "type": "Recreate" }, "template": { "spec": { "tolerations": null } } } });

        let body = patched(PatchKind::JsonMerge, value);

        assert_eq!(body["spec"]["strategy"]["type"], "Recreate");
        assert!(
            body["spec"]["template"]["spec"]
                .get("tolerations")
                .is_none()
        );
        assert!(body["spec"]["template"]["spec"]["containers"].is_array());
    }

    #[test]
    fn no_patch_changes_what_identifies_an_object() {
        let original = patched(PatchKind::JsonMerge, json!({}));
        let value = json!({
            "apiVersion": "v9", "kind": "Pod",
            "metadata": { "name": "x", "namespace": "kube-system", "ownerReferences": null,
                          "labels": { "app.kubernetes.io/managed-by": "me", "team": "edge" } },
            "spec": { "selector": { "matchLabels": { "x": "y" } },
                      "template": { "metadata": { "labels": null }, "spec": { "serviceAccountName": "admin" } } },
        });

        for kind in [PatchKind::JsonMerge, PatchKind::StrategicMerge] {
            let mut body = patched(kind, value.clone());
            let labels = body["metadata"]["labels"].as_object_mut();
            let team = labels.and_then(|labels| labels.remove("team"));

            assert_eq!(team, Some("edge".into()));
            assert_eq!(body, original);
        }
    }

    #[test]
    fn directives_delete_and_replace() {
        let value = json!({ "spec": { "template": { "spec": {
            "containers": [{ "name": "envoy", "env": [{ "name": "A", "$patch": "delete" }] }],
            "securityContext": { "$patch": "replace", "fsGroup": 1 },
        } } } });

        let body = patched(PatchKind::StrategicMerge, value);

        let pod = &body["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["env"], json!([]));
        assert_eq!(pod["securityContext"], json!({ "fsGroup": 1 }));
    }
}
