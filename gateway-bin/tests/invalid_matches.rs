//! Invalid matches: `check` reports them, and the requests that they may match never reach another rule.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::findings::{Finding, conditions, findings};
use common::manifests::EDGE;
use common::{Folder, Towergate, curl};

/// Manifest of a route. Its first rule redirects requests that match `matched`; its second rule serves
/// all others.
fn route(name: &str, host: &str, matched: &str) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: team-a}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [{host}]
  rules:
    - matches: [{matched}]
      filters: [{{type: RequestRedirect, requestRedirect: {{scheme: https}}}}]
    - matches: [{{path: {{value: /}}}}]
      backendRefs: [{{name: echo, port: 80}}]
"
    )
}

/// An invalid match for requests below `/admin`.
struct Case {
    matched: &'static str,
    /// Path of the field that the finding reports, relative to the match.
    field: &'static str,
    /// Status of a request outside `/admin`.
    elsewhere: &'static str,
}

const fn case(matched: &'static str, field: &'static str) -> Case {
    Case {
        matched,
        field,
        elsewhere: "200",
    }
}

/// A case whose match could apply to any request.
const fn unbounded(matched: &'static str, field: &'static str) -> Case {
    Case {
        elsewhere: "500",
        ..case(matched, field)
    }
}

const CASES: [Case; 15] = [
    case("{path: {type: Prefix, value: /admin}}", ".path.type"),
    case(
        "{path: {type: RegularExpression, value: '/admin['}}",
        ".path.value",
    ),
    case("{path: {value: admin}}", ".path.value"),
    case("{path: {value: /admin//x}}", ".path.value"),
    case("{path: {value: /open/../admin}}", ".path.value"),
    case("{path: {value: /admin}, method: get}", ".method"),
    case("{path: {value: /admin}, method: FOO}", ".method"),
    case(
        "{path: {value: /admin}, headers: [{type: exact, name: x-role, value: a}]}",
        ".headers[0].type",
    ),
    case(
        "{path: {value: /admin}, headers: [{type: RegularExpression, name: x-role, value: '('}]}",
        ".headers[0].value",
    ),
    case(
        "{path: {value: /admin}, headers: [{name: x role, value: a}]}",
        ".headers[0].name",
    ),
    case(
        "{path: {value: /admin}, queryParams: [{type: Regex, name: role, value: a}]}",
        ".queryParams[0].type",
    ),
    unbounded(
        "{path: {type: RegularExpression, value: '(/admin'}}",
        ".path.value",
    ),
    unbounded("{path: {value: 5}}", ".path.value"),
    case(
        "{path: {value: /admin}, headers: {name: x-role}}",
        ".headers",
    ),
    unbounded("{paht: {value: /admin}}", ".paht"),
];

fn host(at: usize) -> String {
    format!("h{at}.test")
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("gateway.yaml", EDGE);
    for (at, case) in CASES.iter().enumerate() {
        let text = route(&format!("r{at}"), &host(at), case.matched);
        folder.write(&format!("r{at}.yaml"), &text);
    }
    folder
}

#[test]
fn requests_of_an_invalid_match_get_500_and_never_the_less_specific_rule() {
    let folder = folder();
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    let status = |at: usize, path: &str| {
        let host = format!("host: {}", host(at));
        let url = format!("http://{}{path}", gateway.http);
        let (response, _) = curl(&["--header", &host, "--header", "x-role: b", &url]);
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    };

    for (at, case) in CASES.iter().enumerate() {
        assert_eq!(status(at, "/admin/x?role=b"), "500", "{}", case.matched);
        assert_eq!(status(at, "/open"), case.elsewhere, "{}", case.matched);
    }
}

#[test]
fn each_invalid_match_is_an_error_at_its_field() {
    let folder = folder();

    let all = findings(&folder);

    for (at, case) in CASES.iter().enumerate() {
        let file = format!("r{at}.yaml");
        let field = format!("spec.rules[0].matches[0]{}", case.field);
        let concerns = |found: &Finding| field.starts_with(&found.field);
        let found = all
            .iter()
            .find(|found| found.file == file && !found.field.is_empty() && concerns(found));
        let found = found.unwrap_or_else(|| panic!("{}: {all:?}", case.matched));
        assert_eq!(found.severity, "error", "{found:?}");
        assert!(!found.message.is_empty() && !found.help.is_empty());
    }
}

#[test]
fn the_status_names_the_rules_that_are_dropped() {
    let folder = folder();
    let reason = |at: usize, kind: &str| {
        let all = conditions(&folder, "HTTPRoute", &format!("r{at}")).unwrap();
        let found = all.into_iter().find(|condition| condition.kind == kind);
        found.map(|condition| (condition.status, condition.reason))
    };
    let unsupported = |status: &str| Some((status.to_owned(), "UnsupportedValue".to_owned()));

    for (at, case) in CASES.iter().enumerate() {
        match case.elsewhere {
            "200" => assert_eq!(reason(at, "PartiallyInvalid"), unsupported("True")),
            _ => assert_eq!(reason(at, "Accepted"), unsupported("False")),
        }
    }
}
