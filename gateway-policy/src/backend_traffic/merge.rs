//! Merge of a route's policy with the policy of its parent.
//!
//! Both merge types work on the serialized documents: objects are merged field by field, and the route's
//! policy takes precedence. They differ in lists. `JSONMerge` (RFC 7396) replaces a list;
//! `StrategicMerge` replaces it too, except for lists whose items have a merge key, which are merged item
//! by item.

use serde_json::{Map, Value};

use super::{BackendTrafficPolicySpec, MergeType};

/// Lists that a strategic merge merges item by item. The merge key is `type`.
const NAMED_LISTS: [&str; 3] = ["compression", "compressor", "httpUpgrade"];

/// Fields that are not inherited from the parent.
const OWN: [&str; 4] = ["targetRef", "targetRefs", "targetSelectors", "mergeType"];

/// Merges `patch` into `parent` by the `mergeType` of `patch`. Without one, the result is `patch`.
pub fn merge(
    parent: &BackendTrafficPolicySpec,
    patch: &BackendTrafficPolicySpec,
) -> BackendTrafficPolicySpec {
    let strategic = match patch.merge_type {
        Some(MergeType::StrategicMerge) => true,
        Some(MergeType::JsonMerge) => false,
        None | Some(MergeType::Replace | MergeType::Other(_)) => return patch.clone(),
    };
    let mut merged = document(parent);
    for field in OWN {
        merged.remove(field);
    }
    merge_objects(&mut merged, document(patch), strategic);
    serde_json::from_value(Value::Object(merged))
        .expect("both specs were deserialized from the same types")
}

fn document(spec: &BackendTrafficPolicySpec) -> Map<String, Value> {
    let mut document = serde_json::to_value(spec).ok();
    let fields = document.as_mut().and_then(Value::as_object_mut);
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
        let parent = serde_json::from_value(parent).unwrap();
        let patch = serde_json::from_value(patch).unwrap();

        serde_json::to_value(merge(&parent, &patch)).unwrap()
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
