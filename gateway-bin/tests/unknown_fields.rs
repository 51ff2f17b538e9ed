//! Unknown fields: `check` reports them, and they never weaken a protection.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::findings::{command, findings};
use common::manifests::EDGE;
use common::{Folder, Towergate, curl, eventually};

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: echo, namespace: team-a}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {value: /admin}, headers: [{name: x-token, value: secret}]}]
      backendRefs: [{name: echo, port: 80}]
    - matches: [{path: {value: /open}}]
      backendRefs: [{name: echo, port: 80}]
";

fn folder(route: &str) -> Folder {
    let folder = Folder::new();
    folder.write("gateway.yaml", EDGE);
    folder.write("route.yaml", route);
    folder
}

fn status(gateway: &Towergate, path: &str) -> String {
    let (response, _) = curl(&[&format!("http://{}{path}", gateway.http)]);
    response.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_misspelt_match_is_an_error_with_position_and_suggestion() {
    let folder = folder(&ROUTE.replace("headers:", "heders:"));

    let all = findings(&folder);
    let (_, code) = command(&folder, "check", &[]);

    let found = all
        .iter()
        .find(|found| found.code == "unknown-field")
        .unwrap();
    assert_eq!((&*found.severity, &*found.file), ("error", "route.yaml"));
    assert!(found.line.contains("heders"), "{found:?}");
    assert_eq!(found.field, "spec.rules[0].matches[0].heders");
    assert!(found.help.contains("`headers`"), "{found:?}");
    assert_eq!(code, Some(1));
}

#[test]
fn its_rule_answers_500_and_other_rules_serve() {
    let folder = folder(&ROUTE.replace("headers:", "heders:"));
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);

    assert_eq!(status(&gateway, "/admin"), "500");
    assert_eq!(status(&gateway, "/open"), "200");

    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_misspelt_field_in_a_served_route_keeps_its_last_good_version() {
    let folder = folder(ROUTE);
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    assert_eq!(status(&gateway, "/admin"), "404", "it has no token");

    folder.write("route.yaml", &ROUTE.replace("headers:", "heders:"));

    eventually("the slip is told", || {
        gateway.output().contains("heders").then_some(())
    });
    assert_eq!(status(&gateway, "/admin"), "404");
    assert_eq!(status(&gateway, "/open"), "200");
}

#[test]
fn strict_makes_every_unknown_field_an_error() {
    let folder = folder(&ROUTE.replace("namespace: team-a}", "namespace: team-a, lables: {}}"));

    let (lenient, lenient_code) = command(&folder, "check", &[]);
    let (strict, strict_code) = command(&folder, "check", &["--strict"]);

    assert!(lenient.contains("warning[unknown-field]"), "{lenient}");
    assert!(strict.contains("error[unknown-field]"), "{strict}");
    assert_eq!((lenient_code, strict_code), (Some(0), Some(1)));
}
