//! Selection of listener and certificate by server name and `Host`, with openssl.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Folder, Towergate, tls_secret};

const MANIFEST: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: gateway}
spec:
  gatewayClassName: eg
  listeners:
    - {name: a, port: 443, protocol: HTTPS, hostname: a.test, tls: {certificateRefs: [{name: a}]}}
    - {name: w, port: 443, protocol: HTTPS, hostname: "*.w.test", tls: {certificateRefs: [{name: w}]}}
    - {name: x, port: 443, protocol: HTTPS, hostname: x.w.test, tls: {certificateRefs: [{name: x}]}}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: gateway, annotations: {towergate.dev/echo: "true"}}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: gateway}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
"#;

/// Returns the name in the certificate and the response status. `none` if the handshake fails.
fn ask(gateway: &Towergate, server_name: Option<&str>, host: &str) -> String {
    let address = gateway.https.to_string();
    let name = server_name.map_or(vec!["-noservername"], |name| vec!["-servername", name]);
    let mut client = Command::new("openssl")
        .args([
            "s_client", "-connect", &address, "-alpn", "http/1.1", "-ign_eof",
        ])
        .args(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    // If the handshake fails, openssl exits before it reads the request.
    let _ = client.stdin.take().unwrap().write_all(request.as_bytes());
    let output = client.wait_with_output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = |mark: &str, end: char| {
        let rest = output.split_once(mark)?.1;
        rest.split(end).next().map(str::to_owned)
    };
    match (after("subject=CN = ", '\n'), after("HTTP/1.1 ", ' ')) {
        (Some(name), Some(status)) => format!("{name} {status}"),
        _ => "none".to_owned(),
    }
}

#[rustfmt::skip]
#[test]
fn server_name_and_host_choose_the_listener_and_may_not_disagree() {
    let folder = Folder::new();
    folder.write("gateway.yaml", MANIFEST);
    for (name, host) in [("a", "a.test"), ("w", "*.w.test"), ("x", "x.w.test")] {
        folder.write(&format!("{name}.yaml"), &tls_secret("gateway", name, host));
    }
    let gateway = Towergate::start(&folder, &[]);

    for (server_name, host, expected) in [
        // Case and a trailing dot are ignored.
        (Some("a.test"), "a.test", "a.test 200"),
        (Some("A.TeSt"), "a.test", "a.test 200"),
        (Some("a.test."), "a.test", "a.test 200"),
        (Some("a.test"), "A.TEST:443", "a.test 200"),
        // A wildcard of a listener covers several labels; an exact name takes precedence.
        (Some("y.w.test"), "y.w.test", "*.w.test 200"),
        (Some("b.y.w.test"), "b.y.w.test", "*.w.test 200"),
        (Some("x.w.test"), "x.w.test", "x.w.test 200"),
        (Some("w.test"), "w.test", "none"),
        // No listener here accepts all names, so a server name is required. An IP address is not a server
        // name.
        (None, "a.test", "none"),
        (Some("unknown.test"), "a.test", "none"),
        (Some("127.0.0.1"), "a.test", "none"),
        (Some("*.w.test"), "y.w.test", "none"),
        // 421 if another listener is a better match for `Host`, 404 if none matches.
        (Some("y.w.test"), "z.w.test", "*.w.test 200"),
        (Some("a.test"), "y.w.test", "a.test 421"),
        (Some("y.w.test"), "x.w.test", "*.w.test 421"),
        (Some("x.w.test"), "y.w.test", "x.w.test 421"),
        (Some("y.w.test"), "a.test", "*.w.test 421"),
        (Some("a.test"), "nobody.test", "a.test 404"),
    ] {
        assert_eq!(ask(&gateway, server_name, host), expected, "{server_name:?} {host}");
    }
}
