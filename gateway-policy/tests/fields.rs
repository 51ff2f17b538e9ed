//! Every field of Envoy Gateway's three policies is known, is written as it was read, and is neither
//! dropped nor misspelled. `fields/*.txt` hold one field a line: its path and its type.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use towergate_policy::{BackendTrafficPolicySpec, ClientTrafficPolicySpec, SecurityPolicySpec};

/// The fields of a list, by path.
fn fields(list: &'static str) -> BTreeMap<&'static str, &'static str> {
    let fields = list.lines().map(|line| line.split_once(' ').unwrap());
    fields.collect()
}

/// A value of a type.
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

/// A spec in which nothing but `path` is set.
fn spec(fields: &BTreeMap<&str, &str>, path: &str) -> Value {
    let mut value = sample(fields[path]);
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
    assert!(fields.len() > 100, "the list is there");
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
fn every_field_of_a_client_traffic_policy_is_known() {
    check::<ClientTrafficPolicySpec>(include_str!("fields/client.txt"));
}

#[test]
fn every_field_of_a_backend_traffic_policy_is_known() {
    check::<BackendTrafficPolicySpec>(include_str!("fields/backend.txt"));
}

#[test]
fn every_field_of_a_security_policy_is_known() {
    check::<SecurityPolicySpec>(include_str!("fields/security.txt"));
}

#[test]
fn a_field_that_does_not_exist_is_left_to_the_caller() {
    let written = json!({"timeout": {"http": {"requestTimout": "1s"}}, "retry": {}});
    let mut ignored = Vec::new();

    let read: BackendTrafficPolicySpec =
        serde_ignored::deserialize(&written, |path| ignored.push(path.to_string())).unwrap();

    assert!(read.retry.is_some());
    assert_eq!(ignored, ["timeout.?.http.?.requestTimout"]);
}

/// Setting any field at all either has an effect that the conversion knows, or is refused by name.
#[test]
fn every_field_of_a_security_policy_is_refused_by_name() {
    let fields = fields(include_str!("fields/security.txt"));
    for path in fields.keys().filter(|path| !path.starts_with("target")) {
        let read: SecurityPolicySpec = serde_json::from_value(spec(&fields, path)).unwrap();

        let refusal = read.policies().unwrap_err();

        let first = path.split('.').next().unwrap();
        assert_eq!(refusal.field, format!("spec.{first}"), "{path}");
    }
}
