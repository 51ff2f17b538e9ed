//! Backends that listen on a Unix domain socket, with a real nginx.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use common::web::Nginx;
use common::{Folder, Towergate, curl, eventually, run};

/// Manifests of two Backends: one in plain text on `plain`, one with TLS on `tls`.
fn manifests(plain: &str, tls: &str) -> String {
    let route = |name: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: ns}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
    - matches: [{{path: {{value: /{name}}}}}]
      backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}]
"
        )
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: ns}}
spec:
  gatewayClassName: any
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: plain, namespace: ns}}
spec:
  endpoints: [{{unix: {{path: {plain}}}}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: tls, namespace: ns}}
spec:
  endpoints: [{{hostname: app.example.com, unix: {{path: {tls}}}}}]
  tls: {{insecureSkipVerify: true}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: health, namespace: ns}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: plain}}]
  healthCheck:
    panicThreshold: 0
    active: {{type: HTTP, interval: 100ms, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1,
              http: {{path: /health}}}}
{}{}",
        route("plain"),
        route("tls")
    )
}

/// Status code and body of a response.
fn get(gateway: &Towergate, path: &str) -> (String, String) {
    let (answer, _) = curl(&[&format!("http://{}{path}", gateway.http)]);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default();
    (status.to_owned(), body.trim().to_owned())
}

#[test]
fn requests_reach_a_backend_on_a_unix_domain_socket_with_and_without_tls() {
    let sockets = Folder::new();
    let at = |name: &str| sockets.path().join(name).display().to_string();
    let (plain, tls) = (at("plain.sock"), at("tls.sock"));
    let made = run(
        env!("CARGO_BIN_EXE_towergate"),
        &["dev-cert", "app.example.com", "--out", &at("")],
    );
    assert!(made.status.success());
    let _nginx = Nginx::start(&format!(
        "listen unix:{plain}; listen unix:{tls} ssl;
         ssl_certificate {}; ssl_certificate_key {};
         location / {{ return 200 \"$scheme $ssl_server_name $uri $http_x_forwarded_proto\"; }}
         location /health {{ if ($http_host != \"localhost\") {{ return 500; }} return 200 ok; }}",
        at("tls.crt"),
        at("tls.key")
    ));
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(&plain, &tls));
    let permitted = sockets.path().display().to_string();
    let gateway = Towergate::start(&folder, &["--backend-socket-folder", &permitted]);

    // Connections are reused.
    for _ in 0..3 {
        let expected = ("200".to_owned(), "http  /plain http".to_owned());
        assert_eq!(get(&gateway, "/plain"), expected);
        let expected = "https app.example.com /tls http".to_owned();
        assert_eq!(get(&gateway, "/tls"), ("200".to_owned(), expected));
    }
    let logged = eventually("the access log", || {
        let entries = gateway.access_log("/plain");
        (entries.len() >= 3).then_some(entries)
    });
    assert_eq!(logged[0]["upstream_host"], plain);

    // A socket file without a server is an endpoint that fails its health checks.
    std::fs::remove_file(&plain).unwrap();
    eventually("the endpoint is unhealthy", || {
        let (status, body) = get(&gateway, "/plain?new");
        (status == "503" && body.contains("no healthy upstream")).then_some(())
    });
}

#[test]
fn a_socket_outside_of_the_permitted_folders_is_refused() {
    let folder = Folder::new();
    folder.write(
        "app.yaml",
        &manifests("/run/other/a.sock", "/run/other/b.sock"),
    );
    let gateway = Towergate::start(&folder, &["--backend-socket-folder", "/run/apps"]);

    let (status, _) = get(&gateway, "/plain");

    assert_eq!(status, "500");
}
