//! CONNECT: tunnels through the gateway with curl, to a real nginx and through a second proxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use common::web::Nginx;
use common::{Folder, Towergate, curl, eventually, free_port};

/// Backend `name` with the spec `backend`, and a route of `name.test` on `listener` that serves CONNECT.
fn tunnel(name: &str, listener: &str, upgrade: &str, backend: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: ns}}
spec:
  parentRefs: [{{name: edge, sectionName: {listener}}}]
  hostnames: [{name}.test]
  rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: {name}}}]}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: {name}, namespace: ns}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]
  httpUpgrade: [{upgrade}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: {name}, namespace: ns}}
spec: {{{backend}}}
"
    )
}

/// A gateway with three routes. `first` and `second` forward CONNECT over HTTP/1.1 and HTTP/2 to a proxy: the
/// listener `inner` of the same gateway, which terminates CONNECT for these hosts. `last` terminates CONNECT
/// on the outer listener.
fn manifests(inner: u16, web: &std::net::SocketAddr) -> String {
    let proxy = format!("endpoints: [{{ip: {{address: 127.0.0.1, port: {inner}}}}}]");
    let web = format!(
        "endpoints: [{{ip: {{address: 127.0.0.1, port: {}}}}}]",
        web.port()
    );
    let terminate = "{type: CONNECT, connect: {terminate: true}}";
    let end = tunnel("end", "inner", terminate, &web)
        .replace("[end.test]", "[first.test, second.test, third.test]");
    [
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: ns}}
spec:
  gatewayClassName: any
  listeners:
    - {{name: outer, port: 80, protocol: HTTP}}
    - {{name: inner, port: {inner}, protocol: HTTP}}
"
        ),
        tunnel("first", "outer", "{type: CONNECT}", &proxy),
        tunnel(
            "second",
            "outer",
            "{type: CONNECT}",
            &format!("{proxy}, appProtocols: [gateway.envoyproxy.io/h2c]"),
        ),
        tunnel("last", "outer", terminate, &web),
        tunnel("plain", "outer", "{type: websocket}", &web),
        end,
    ]
    .concat()
}

/// The response of nginx through a tunnel to `host:PORT`, and the exit status of curl.
fn through(gateway: &Towergate, host: &str) -> (String, i32) {
    let proxy = format!("http://{}", gateway.http);
    let url = format!("http://{host}:8080/data");
    curl(&[
        "--suppress-connect-headers",
        "--proxytunnel",
        "--proxy",
        &proxy,
        &url,
    ])
}

#[test]
fn a_tunnel_leads_to_the_backend_of_the_route_over_http1_and_http2() {
    let web = Nginx::start("location / { return 200 \"$http_host $uri\"; }");
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(free_port(), &web.address));
    let gateway = Towergate::start(&folder, &[]);

    for host in ["last.test", "first.test", "second.test"] {
        let (answer, status) = through(&gateway, host);

        assert_eq!(status, 0, "{host}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        assert!(
            answer.ends_with(&format!("{host}:8080 /data")),
            "{host}: {answer}"
        );
    }
    let logged = eventually("the access log", || {
        let entries = gateway.output();
        let tunnels = entries.matches("\"method\":\"CONNECT\"").count();
        // Two of the three tunnels pass through the gateway twice, so they have two entries.
        (tunnels >= 5).then_some(entries)
    });
    assert!(logged.contains("second.test:8080"));
}

#[test]
fn connect_is_refused_where_no_rule_serves_it_and_such_a_rule_serves_nothing_else() {
    let web = Nginx::start("location / { return 200 ok; }");
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(free_port(), &web.address));
    let gateway = Towergate::start(&folder, &[]);

    for host in ["plain.test", "unknown.test"] {
        let (answer, status) = through(&gateway, host);
        // Exit status of curl if the proxy rejects the tunnel.
        assert_eq!(status, 56, "{host}: {answer}");
        assert!(!answer.contains("ok"), "{host}: {answer}");
    }
    let get = |host: &str| {
        let url = format!("http://{}/", gateway.http);
        curl(&["--header", &format!("Host: {host}"), &url]).0
    };
    assert!(get("plain.test").starts_with("HTTP/1.1 200"));
    assert!(get("last.test").starts_with("HTTP/1.1 404"));
}
