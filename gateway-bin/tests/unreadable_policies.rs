//! Unreadable policies with the `towergate` program: all routes to which they may apply fail closed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::{Folder, Towergate, curl, eventually, run};

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: infra}
spec: {ports: [{port: 80}]}
";

/// Routes `a` and `b` of a namespace, for `a.NAMESPACE.test` and `b.NAMESPACE.test`.
fn routes(namespace: &str) -> String {
    let route = |name: &str| {
        format!(
            "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{name: edge, namespace: infra}}]
  hostnames: [{name}.{namespace}.test]
  rules: [{{backendRefs: [{{name: echo, namespace: infra, port: 80}}]}}]
"
        )
    };
    let grant = format!(
        "\
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: {namespace}, namespace: infra}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {namespace}}}]
  to: [{{group: '', kind: Service}}]
"
    );
    route("a") + &route("b") + &grant
}

/// A policy for route `a` that admits every request.
fn policy(namespace: &str) -> String {
    format!(
        "\
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{name: p, namespace: {namespace}}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}}]
  cors: {{allowOrigins: ['https://app.test']}}
"
    )
}

fn status(gateway: &Towergate, host: &str) -> String {
    let (host, url) = (
        format!("host: {host}.test"),
        format!("http://{}", gateway.http),
    );
    let (response, _) = curl(&["--header", &host, &url]);
    response.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Errors in the policy: name of the error, text, its replacement, and whether only route `a` fails closed.
const MISTAKES: [(&str, &str, &str, bool); 16] = [
    ("name", "name: p,", "name: P_,", true),
    ("unnamed", "name: p, ", "", true),
    ("labels", "name: p,", "name: p, labels: 5,", true),
    ("version", "v1alpha1", "v1alpha2", true),
    ("kind", "kind: SecurityPolicy", "kind: SecurityPolcy", true),
    (
        "group",
        "gateway.envoyproxy.io",
        "gateway.networking.k8s.io",
        true,
    ),
    ("no-kind", "kind: SecurityPolicy\n", "", true),
    ("spec", "spec:", "spec: x\nspecs:", false),
    (
        "refs",
        "targetRefs: [",
        "targetRefs: x\n  targets: [",
        false,
    ),
    ("spelling", "targetRefs", "targetRfs", false),
    ("target-kind", "HTTPRoute", "HTTPRoutes", true),
    (
        "target-group",
        "gateway.networking.k8s.io, ",
        "gateway.networking.k8s, ",
        true,
    ),
    ("target-name", ", name: a}", "}", false),
    ("syntax", "['https://app.test']", "[", false),
    ("patch", "SecurityPolicy", "EnvoyExtensionPolicy", true),
    ("traffic", "SecurityPolicy", "BackendTrafficPolicys", true),
];

#[test]
fn what_an_unreadable_policy_may_cover_is_closed() {
    let folder = Folder::new();
    folder.write("gateway.yaml", GATEWAY);
    let mut text = routes("right") + &policy("right");
    for (namespace, right, wrong, _) in MISTAKES {
        text += &routes(namespace);
        assert!(policy(namespace).contains(right), "{namespace}");
        text += &policy(namespace).replacen(right, wrong, 1);
    }
    folder.write("routes.yaml", &text);
    let backend = Backend::start();
    let endpoint = format!("infra/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);

    assert_eq!(status(&gateway, "a.right"), "200");
    assert_eq!(status(&gateway, "b.right"), "200");
    for (namespace, _, _, one_route) in MISTAKES {
        assert_eq!(
            status(&gateway, &format!("a.{namespace}")),
            "500",
            "{namespace}"
        );
        let other = if one_route { "200" } else { "500" };
        assert_eq!(
            status(&gateway, &format!("b.{namespace}")),
            other,
            "{namespace}"
        );
    }

    let checked = run(
        env!("CARGO_BIN_EXE_towergate"),
        &["check", &folder.path().display().to_string()],
    );
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(!checked.status.success());
    assert!(said.contains("policy-targets-unreadable"), "{said}");
    assert!(
        said.contains("EnvoyExtensionPolicy is not supported"),
        "{said}"
    );
}

#[test]
fn a_policy_that_becomes_unreadable_keeps_its_last_good_version() {
    let folder = Folder::new();
    folder.write("gateway.yaml", GATEWAY);
    folder.write("routes.yaml", &routes("team"));
    folder.write("policy.yaml", &policy("team"));
    let backend = Backend::start();
    let endpoint = format!("infra/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    assert_eq!(status(&gateway, "a.team"), "200");

    folder.write(
        "policy.yaml",
        &policy("team").replace("name: p,", "name: P_,"),
    );
    eventually("the error is logged", || {
        gateway.output().contains("stays in service").then_some(())
    });
    assert_eq!(status(&gateway, "a.team"), "200");

    folder.remove("policy.yaml");
    folder.write(
        "other.yaml",
        &policy("team").replace("name: p,", "name: P_,"),
    );
    eventually("the new policy closes its target", || {
        (status(&gateway, "a.team") == "500").then_some(())
    });
    assert_eq!(status(&gateway, "b.team"), "200");

    folder.write("other.yaml", &policy("team"));
    eventually("the corrected policy is in force", || {
        (status(&gateway, "a.team") == "200").then_some(())
    });
}
