//! Tests of typed decoding and of its error messages.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::tree::parse;
use super::*;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_name: Option<String>,
    port: u16,
    on: bool,
    kind: Option<Kind>,
    items: Vec<Spec>,
    labels: BTreeMap<String, String>,
    any: Option<Any>,
    time: Option<DurationText>,
    timeouts: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct DurationText(String);

#[derive(Debug, Deserialize, PartialEq)]
enum Kind {
    Exact,
    PathPrefix,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Any {
    Int(i64),
    Text(String),
}

fn good(text: &str) -> Spec {
    let tree = parse(text).expect("well-formed");
    read(&tree, "spec").0.expect("it fits")
}

fn bad(text: &str) -> (String, Option<(usize, usize)>, String, String) {
    let tree = parse(text).expect("well-formed");
    let error = read::<Spec>(&tree, "spec").0.expect_err("it does not fit");
    let place = error.place.map(|p| (p.line, p.column));
    (error.path, place, error.message, error.help)
}

#[test]
fn values_are_read_from_yaml_and_json() {
    let spec = good(
        "{hostName: a, port: 8e1, 'on': yes, kind: Exact, labels: {a: 'no', b: \"1\"}, any: 5}",
    );

    assert_eq!(
        spec,
        good(
            r#"{"hostName":"a","port":80,"on":true,"kind":"Exact","labels":{"a":"no","b":"1"},"any":5}"#
        )
    );
    assert_eq!(
        (spec.port, spec.on, spec.any),
        (80, true, Some(Any::Int(5)))
    );
    assert_eq!(good("any: http").any, Some(Any::Text("http".to_owned())));
}

#[test]
fn null_is_absent() {
    assert_eq!(
        good("{hostName: null, port: ~, items: , labels: null}"),
        Spec::default()
    );
    assert_eq!(good("labels: {a: }").labels["a"], "");
}

#[test]
fn errors_name_path_and_place() {
    let (path, place, message, _) = bad("items:\n- port: 1\n- port: eighty\n");
    assert_eq!((path.as_str(), place), ("spec.items[1].port", Some((3, 9))));
    assert_eq!(
        message,
        "found the string \"eighty\", expected a number from 0 to 65535"
    );

    let (_, place, message, _) = bad("port: 70000");
    assert_eq!(place, Some((1, 7)));
    assert_eq!(
        message,
        "found the number `70000`, expected a number from 0 to 65535"
    );

    let (path, _, message, _) = bad("items: {a: 1}");
    assert_eq!(
        (path.as_str(), message.as_str()),
        ("spec.items", "found map, expected a list")
    );

    let (_, _, message, _) = bad("items: [x]");
    assert_eq!(message, "found the string \"x\", expected a map");
}

#[test]
fn unquoted_numbers_are_no_text() {
    let (path, _, message, help) = bad("labels: {a: 5}");
    assert_eq!(path, "spec.labels.a");
    assert_eq!(message, "expected a string, found the number `5`");
    assert_eq!(help, "put it in quotes: \"5\"");
    assert!(bad("hostName: true").2.contains("the boolean `true`"));
    for text in ["time: 5", "timeouts: {request: 5}"] {
        assert_eq!(bad(text).3, DURATION, "{text}");
    }
}

#[test]
fn a_mistyped_choice_is_answered_with_the_nearest() {
    let (path, place, message, help) = bad("kind: PathPrefx");

    assert_eq!((path.as_str(), place), ("spec.kind", Some((1, 7))));
    assert!(message.contains("`Exact` or `PathPrefix`"), "{message}");
    assert_eq!(help, "did you mean `PathPrefix`?");
}

#[test]
fn unknown_fields_are_noted_with_the_nearest_known_one() {
    let tree = parse("prot: 1\nitems:\n- hostname: a\n  zzzzz: {a: 1}\n").expect("well-formed");
    let (result, unknown) = read::<Spec>(&tree, "spec");

    assert!(result.is_ok());
    let unknown: Vec<_> = unknown
        .iter()
        .map(|u| (u.path.as_str(), u.place.line, u.nearest.as_deref()))
        .collect();
    assert_eq!(
        unknown,
        [
            ("spec.prot", 1, Some("port")),
            ("spec.items[0].hostname", 3, Some("hostName")),
            ("spec.items[0].zzzzz", 4, None),
        ]
    );
}
