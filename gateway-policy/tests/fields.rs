//! Every field of Envoy Gateway's three policies is known, is written as it was read, and is neither
//! dropped nor misspelled. `fields/*.txt` hold one field a line: its path and its type.

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use towergate_policy::backend_traffic::merge;
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
    spec_with(fields, path, sample(fields[path]))
}

/// A spec in which nothing but `path` is set, to `value`.
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

/// Values for a field of which at least one means something to it.
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

/// Whether the field at `path` is refused whatever it holds, or some value makes a difference.
fn counts<T, C, E>(list: &'static str, path: &str, convert: fn(&T) -> Result<C, E>) -> bool
where
    T: DeserializeOwned,
    C: PartialEq,
{
    let fields = fields(list);
    // The same document without the field: its containers alone may have a meaning.
    let container = path.rsplit_once('.').map(|(container, _)| container);
    let without = match container {
        Some(container) => {
            let mut fields = fields.clone();
            fields.entry(container).or_insert("object");
            spec(&fields, container)
        }
        None => json!({}),
    };
    let without = convert(&serde_json::from_value(without).unwrap()).ok();
    let mut accepted = candidates(fields[path])
        .into_iter()
        .filter_map(|value| {
            let document = spec_with(&fields, path, value);
            convert(&serde_json::from_value(document).unwrap()).ok()
        })
        .peekable();
    accepted.peek().is_none() || accepted.any(|with| Some(with) != without)
}

fn without_effect<T, C, E>(list: &'static str, convert: fn(&T) -> Result<C, E>) -> Vec<&'static str>
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
        .filter(|path| !counts(list, path, convert))
        .collect()
}

#[test]
fn no_field_of_a_client_traffic_policy_is_read_and_then_forgotten() {
    use towergate_policy::client_traffic::ListenerContext;

    let forgotten = without_effect(
        include_str!("fields/client.txt"),
        |spec: &ClientTrafficPolicySpec| spec.listener_settings(ListenerContext::default()),
    );

    assert_eq!(forgotten, [""; 0]);
}

#[test]
fn no_field_of_a_backend_traffic_policy_is_read_and_then_forgotten() {
    use towergate_policy::backend_traffic::RouteContext;

    let forgotten = without_effect(
        include_str!("fields/backend.txt"),
        |spec: &BackendTrafficPolicySpec| {
            spec.traffic(RouteContext {
                policy: "a/b",
                rate_limit_headers: true,
            })
        },
    );

    // How a policy is merged is the business of `merge`.
    assert_eq!(forgotten, ["mergeType"]);
}

proptest! {
    /// Whatever two policies set, their merge is a policy; what the patch sets is in it; and merging
    /// once more changes nothing.
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

        let merged = merge(&parent, &patch);

        prop_assert_eq!(&merge(&merged, &patch), &merged);
        prop_assert_eq!(merged.targets().refs().count(), patch.targets().refs().count());
        let written = serde_json::to_value(&patch).unwrap();
        let merged = serde_json::to_value(&merged).unwrap();
        for name in written.as_object().unwrap().keys() {
            prop_assert!(merged.get(name).is_some(), "{}", name);
        }
    }
}
