//! Settings of single backendRefs with the `towergate` program and curl.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use common::backend::Backend;
use common::{Folder, Towergate, curl, eventually, free_port};

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

/// A Backend with one endpoint, and further fields of its spec.
fn backend(name: &str, address: SocketAddr, fields: &str) -> String {
    format!(
        "\
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: {name}}}
spec:
  endpoints: [{{ip: {{address: {}, port: {}}}}}]
  {fields}
",
        address.ip(),
        address.port()
    )
}

/// A route with one rule for `/NAME`.
fn route(name: &str, rule: &str) -> String {
    format!(
        "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
  - matches: [{{path: {{value: /{name}}}}}]
{rule}
"
    )
}

const CREDENTIAL: &str = "\
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {credential: own}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: key}
spec: {credentialInjection: {header: x-key, overwrite: true, credential: {valueRef: {name: key}}}}
";

/// The response to a GET of `path` with these arguments of curl.
fn get(gateway: &Towergate, path: &str, args: &[&str]) -> String {
    let url = format!("http://{}{path}", gateway.http);
    let mut all = args.to_vec();
    all.push(&url);
    curl(&all).0
}

#[test]
fn a_credential_of_a_backend_ref_reaches_only_its_backend() {
    let (with, without) = (Backend::start(), Backend::start());
    let folder = Folder::new();
    let filter = "{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: key}}";
    let rule = |filters: &str, name: &str| {
        format!(
            "    backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: {name}, filters: [{filters}]}}]"
        )
    };
    let text = [
        GATEWAY,
        &backend("with", with.address, ""),
        &backend("without", without.address, ""),
        CREDENTIAL,
        &route("with", &rule(filter, "with")),
        &route("without", &rule("", "without")),
    ];
    folder.write("all.yaml", &text.concat());
    let gateway = Towergate::start(&folder, &[]);

    let client = ["--header", "x-key: theirs"];
    let added = get(&gateway, "/with", &client);
    assert!(
        added.contains("x-key: own") && !added.contains("theirs"),
        "{added}"
    );
    let kept = get(&gateway, "/without", &client);
    assert!(kept.contains("x-key: theirs"), "{kept}");
}

#[test]
fn retries_reach_the_backend_of_last_resort_without_health_checks() {
    let last = Backend::start();
    let down = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let folder = Folder::new();
    let refs = "    backendRefs:\n    - {group: gateway.envoyproxy.io, kind: Backend, name: down}\n    \
                - {group: gateway.envoyproxy.io, kind: Backend, name: last}";
    let retry = "\
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: retry}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: resort}]
  retry: {numRetries: 3, numAttemptsPerPriority: 1, retryOn: {triggers: [connect-failure]}}
";
    let text = [
        GATEWAY,
        &backend("down", down, ""),
        &backend("last", last.address, "fallback: true"),
        &route("resort", refs),
        retry,
    ];
    folder.write("all.yaml", &text.concat());
    let gateway = Towergate::start(&folder, &[]);

    for _ in 0..3 {
        let response = get(&gateway, "/resort", &[]);
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }
    assert_eq!(last.requests(), 3);
}

#[test]
fn the_access_log_has_the_reason_of_a_failed_tls_handshake() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let folder = Folder::new();
    let text = [
        GATEWAY,
        &backend("plain", address, "tls: {insecureSkipVerify: true}"),
        &route(
            "tls",
            "    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: plain}]",
        ),
    ];
    folder.write("all.yaml", &text.concat());
    let gateway = Towergate::start(&folder, &[]);

    assert!(get(&gateway, "/tls", &[]).starts_with("HTTP/1.1 503"));

    let entry = eventually("the entry of the request", || {
        gateway.access_log("/tls").pop()
    });
    let reason = entry["upstream_transport_failure_reason"].as_str();
    assert!(
        reason.is_some_and(|reason| reason.starts_with("TLS_error: ")),
        "{entry}"
    );
}
