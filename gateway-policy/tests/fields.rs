//! Tests that every field of Envoy Gateway's three policies is declared, survives deserialization and
//! serialization, and is applied or rejected. `fields/*.txt` contain one field per line: path and type.

// Tests and their helpers fail by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use towergate_policy::merge::merge;
use towergate_policy::schema::Schema;
use towergate_policy::{BackendTrafficPolicySpec, ClientTrafficPolicySpec, SecurityPolicySpec};

/// The fields in a list: types by path.
fn fields(list: &'static str) -> BTreeMap<&'static str, &'static str> {
    let fields = list.lines().map(|line| line.split_once(' ').unwrap());
    fields.collect()
}

/// A sample value for a field of type `kind`.
fn sample(kind: &str) -> Value {
    match kind {
        "string" => json!("x"),
        "boolean" => json!(true),
        "integer" => json!(1),
        "number" => json!(0.5),
        "int/str" => json!("1Ki"),
        "object" => json!({}),
        "any" => json!("anything"),
        "map[string]" => json!({"key": "x"}),
        "map[object]" => json!({"key": {}}),
        list => match list.strip_prefix("[]") {
            Some(item) => json!([sample(item)]),
            None => panic!("no sample of {kind}"),
        },
    }
}

/// A spec in which only `path` is set.
fn spec(fields: &BTreeMap<&str, &str>, path: &str) -> Value {
    spec_with(fields, path, sample(fields[path]))
}

/// A spec in which only `path` is set, to `value`.
fn spec_with(fields: &BTreeMap<&str, &str>, path: &str, mut value: Value) -> Value {
    let mut rest = path;
    while let Some((container, name)) = rest.rsplit_once('.') {
        value = json!({name: value});
        value = match fields.get(container).copied().unwrap_or("object") {
            "[]object" => json!([value]),
            "map[object]" => json!({"key": value}),
            "object" => value,
            other => panic!("{container} is {other} and has fields"),
        };
        rest = container;
    }
    Value::Object(Map::from_iter([(rest.to_owned(), value)]))
}

fn check<T: DeserializeOwned + Serialize>(list: &'static str) {
    let fields = fields(list);
    assert!(fields.len() > 100, "the list is complete");
    for path in fields.keys() {
        let written = spec(&fields, path);
        let mut ignored = Vec::new();

        let read: Result<T, _> =
            serde_ignored::deserialize(&written, |path| ignored.push(path.to_string()));

        let read = read.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(ignored, [""; 0], "{path}");
        assert_eq!(serde_json::to_value(read).unwrap(), written, "{path}");
    }
}

#[test]
fn every_field_of_a_client_traffic_policy_is_declared() {
    check::<ClientTrafficPolicySpec>(include_str!("fields/client.txt"));
}

#[test]
fn every_field_of_a_backend_traffic_policy_is_declared() {
    check::<BackendTrafficPolicySpec>(include_str!("fields/backend.txt"));
}

#[test]
fn every_field_of_a_security_policy_is_declared() {
    check::<SecurityPolicySpec>(include_str!("fields/security.txt"));
}

#[test]
fn unknown_fields_are_left_to_the_caller() {
    let written = json!({"timeout": {"http": {"requestTimout": "1s"}}, "retry": {}});
    let mut ignored = Vec::new();

    let read: BackendTrafficPolicySpec =
        serde_ignored::deserialize(&written, |path| ignored.push(path.to_string())).unwrap();

    assert!(read.retry.is_some());
    assert_eq!(ignored, ["timeout.?.http.?.requestTimout"]);
}

#[test]
fn a_field_of_a_security_policy_that_lacks_what_it_needs_is_rejected_by_name() {
    let fields = fields(include_str!("fields/security.txt"));
    // The sample expression is invalid, and there is no database for locations.
    let rejected = [
        "authorization.rules.cel",
        "authorization.rules.principal.clientIPGeoLocations",
    ];
    for path in fields.keys() {
        let below = |field: &&&str| {
            path.split_once(**field)
                .is_some_and(|(before, _)| before.is_empty())
        };
        let Some(field) = rejected.iter().find(below) else {
            continue;
        };
        let read: SecurityPolicySpec = serde_json::from_value(spec(&fields, path)).unwrap();

        let error = read
            .policies(&towergate_policy::references::NoReferences)
            .unwrap_err();

        let named = error.field.replace("[0]", "");
        assert_eq!(named, format!("spec.{field}"), "{path}");
    }
}

/// Values for a field of type `kind`. If the field is supported, at least one of them is valid.
fn candidates(kind: &str) -> Vec<Value> {
    const WORDS: [&str; 14] = [
        "x",
        "7s",
        "/x",
        "Disable",
        "Allow",
        "1.3",
        "1.2",
        "10.0.0.0/8",
        "Random",
        "h2",
        "X25519",
        "KeepUnchanged",
        "AlwaysForwardOnly",
        "Service",
    ];
    let words = WORDS.map(|word| json!(word));
    match kind {
        "string" => words.to_vec(),
        "[]string" => words.map(|word| json!([word])).to_vec(),
        "boolean" => vec![json!(true)],
        "integer" => vec![json!(7)],
        "int/str" => vec![json!("70Ki")],
        _ => Vec::new(),
    }
}

/// The document, with a value added for each required field that is missing.
fn with_required_fields<T: Schema>(mut document: Value) -> Value {
    complete(&mut document, &T::schema());
    document
}

fn complete(value: &mut Value, schema: &Value) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| complete(item, &schema["items"])),
        Value::Object(object) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap();
                let sample = || required_sample(name, &schema["properties"][name]);
                object.entry(name).or_insert_with(sample);
            }
            for (name, value) in object {
                complete(value, &schema["properties"][name]);
            }
        }
        _ => {}
    }
}

/// A sample value for a required field.
fn required_sample(name: &str, schema: &Value) -> Value {
    match (schema["enum"].get(0), schema["type"].as_str()) {
        (Some(first), _) => first.clone(),
        (None, Some("integer")) => json!(1),
        (None, Some("array")) => json!([]),
        (None, Some("object")) => json!({}),
        (None, _) if name == "path" => json!("/x"),
        (None, _) => json!("x"),
    }
}

/// Whether the field at `path` is rejected with every candidate, or changes the result with at least one.
fn has_effect<T, C, E>(
    list: &'static str,
    path: &str,
    prepare: fn(Value) -> Value,
    convert: fn(&T) -> Result<C, E>,
) -> bool
where
    T: DeserializeOwned,
    C: PartialEq,
{
    let fields = fields(list);
    // The same document without the field. It keeps the containers of the field, because these alone may have
    // an effect.
    let container = path.rsplit_once('.').map(|(container, _)| container);
    let without = match container {
        Some(container) => {
            let mut fields = fields.clone();
            fields.entry(container).or_insert("object");
            spec(&fields, container)
        }
        None => json!({}),
    };
    let convert = |document| convert(&serde_json::from_value(prepare(document)).unwrap()).ok();
    let without = convert(without);
    let mut accepted = candidates(fields[path])
        .into_iter()
        .filter_map(|value| convert(spec_with(&fields, path, value)))
        .peekable();
    if accepted.peek().is_none() || accepted.any(|with| Some(with) != without) {
        return true;
    }
    // Some booleans have the default `true`, so `false` is tried too.
    let off = json!(false);
    fields[path] == "boolean" && convert(spec_with(&fields, path, off)) != without
}

/// The document with the type that `loadBalancer.backendUtilization` requires.
fn with_type_of_load_balancer(mut document: Value) -> Value {
    if document["loadBalancer"].get("backendUtilization").is_some() {
        document["loadBalancer"]["type"] = json!("BackendUtilization");
    }
    document
}

/// The fields that have no effect and are not in the policy's remarks.
fn without_effect<T, C, E>(
    list: &'static str,
    prepare: fn(Value) -> Value,
    convert: fn(&T) -> Result<C, E>,
    remarks: fn(&T) -> Vec<String>,
) -> Vec<&'static str>
where
    T: DeserializeOwned,
    C: PartialEq,
{
    let fields = fields(list);
    let leaves = fields
        .iter()
        .filter(|(path, kind)| !path.starts_with("target") && !candidates(kind).is_empty());
    leaves
        .map(|(path, _)| *path)
        .filter(|path| !has_effect(list, path, prepare, convert))
        .filter(|path| {
            let spec: T = serde_json::from_value(spec(&fields, path)).unwrap();
            remarks(&spec).is_empty()
        })
        .collect()
}

#[test]
fn no_field_of_a_client_traffic_policy_is_ignored_without_a_warning() {
    use towergate_policy::client_traffic::ListenerContext;

    let ignored = without_effect(
        include_str!("fields/client.txt"),
        with_required_fields::<ClientTrafficPolicySpec>,
        |spec: &ClientTrafficPolicySpec| spec.listener_settings(ListenerContext::default()),
        |spec| spec.remarks().ignored,
    );

    assert_eq!(ignored, [""; 0]);
}

#[test]
fn no_field_of_a_backend_traffic_policy_is_ignored_without_a_warning() {
    use towergate_policy::backend_traffic::RouteContext;

    let ignored = without_effect(
        include_str!("fields/backend.txt"),
        with_type_of_load_balancer,
        |spec: &BackendTrafficPolicySpec| {
            spec.traffic(RouteContext {
                policy: "a/b",
                rate_limit_headers: true,
                listener: "a/g/l",
                references: &towergate_policy::references::NoReferences,
                annotations: &BTreeMap::new(),
            })
        },
        |spec| spec.remarks().ignored,
    );

    // `mergeType` is applied by `merge`.
    assert_eq!(ignored, ["mergeType"]);
}

proptest! {
    /// The result of a merge contains every field of the patch and keeps its targets. A second merge changes
    /// nothing.
    #[test]
    fn any_two_backend_traffic_policies_can_be_merged(
        parent in any::<Index>(),
        patch in any::<Index>(),
        kind in prop::sample::select(vec!["JSONMerge", "StrategicMerge"]),
    ) {
        let fields = fields(include_str!("fields/backend.txt"));
        let paths: Vec<_> = fields.keys().copied().filter(|path| *path != "mergeType").collect();
        let read = |path: &str, kind: &str| {
            let mut document = spec(&fields, path);
            document["mergeType"] = json!(kind);
            serde_json::from_value::<BackendTrafficPolicySpec>(document).unwrap()
        };
        let parent = read(paths[parent.index(paths.len())], kind);
        let patch = read(paths[patch.index(paths.len())], kind);

        let Ok(merged) = merge(&parent, "default", &patch) else {
            return Ok(());
        };

        prop_assert_eq!(merge(&merged, "default", &patch), Ok(merged.clone()));
        prop_assert_eq!(merged.targets().refs().count(), patch.targets().refs().count());
        let written = serde_json::to_value(&patch).unwrap();
        let merged = serde_json::to_value(&merged).unwrap();
        for name in written.as_object().unwrap().keys() {
            prop_assert!(merged.get(name).is_some(), "{}", name);
        }
    }
}
