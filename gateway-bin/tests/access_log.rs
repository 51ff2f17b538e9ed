//! Access log entries of local replies.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Folder, Towergate, curl, eventually};
use serde_json::Value;

const MANIFESTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: moved}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {value: /old}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: new.test}}]
    - matches: [{path: {value: /nobody}}]
";

fn start() -> (Folder, Towergate) {
    let folder = Folder::new();
    folder.write("a.yaml", MANIFESTS);
    let gateway = Towergate::start(&folder, &[]);
    (folder, gateway)
}

fn entry(gateway: &Towergate, which: impl Fn(&Value) -> bool) -> Value {
    eventually("the access log contains the entry", || {
        let output = gateway.output();
        let entries = output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        entries.filter(|entry| which(entry)).last()
    })
}

#[test]
fn a_local_reply_is_logged_with_its_request_id() {
    let (_folder, gateway) = start();

    for (path, code) in [("/none", 404), ("/old", 302), ("/nobody", 500)] {
        let url = format!("http://{}{path}", gateway.http);
        curl(&["-H", "X-Forwarded-For: 203.0.113.7", &url]);

        let entry = entry(&gateway, |entry| entry["x-envoy-origin-path"] == path);
        assert_eq!(entry["response_code"], code, "{entry}");
        assert_eq!(
            entry["x-request-id"].as_str().map(str::len),
            Some(36),
            "{entry}"
        );
        let forwarded = entry["x-forwarded-for"].as_str().unwrap();
        assert!(forwarded.starts_with("203.0.113.7,"), "{entry}");
    }
}

#[test]
fn invalid_requests_have_no_request_id() {
    let (_folder, gateway) = start();
    let mut stream = TcpStream::connect(gateway.http).unwrap();

    stream.write_all(b"NONSENSE\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);

    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let entry = entry(&gateway, |entry| entry["response_code"] == 400);
    assert_eq!(entry["x-request-id"], Value::Null, "{entry}");
    assert_eq!(entry["x-forwarded-for"], Value::Null, "{entry}");
}

/// Manifests of a route to a backend without endpoints.
const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: gone}
spec:
  parentRefs: [{name: edge}]
  hostnames: [gone.test]
  rules: [{backendRefs: [{name: gone, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: gone}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: gone, labels: {kubernetes.io/service-name: gone}}
addressType: IPv4
ports: [{port: 1}]
endpoints: [{addresses: [127.0.0.1]}]
";

#[test]
fn requests_are_counted_by_rule_also_without_an_access_log() {
    let folder = Folder::new();
    folder.write("a.yaml", &format!("{MANIFESTS}---\n{ROUTE}"));
    let gateway = Towergate::start(&folder, &["--access-log", "off"]);

    curl(&[
        "-H",
        "Host: gone.test",
        &format!("http://{}/", gateway.http),
    ]);

    let (metrics, _) = curl(&[&format!("http://{}/stats/prometheus", gateway.admin)]);
    let rule =
        "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"httproute/default/gone/rule/0\"} 1";
    assert!(metrics.contains(rule), "{metrics}");
}

#[test]
fn an_envoy_proxy_sets_the_format_and_a_flag_takes_precedence() {
    let [folder, by_flag_folder] = [Folder::new(), Folder::new()];
    let parameters = "  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p}}";
    let manifests = MANIFESTS.replacen(
        "  gatewayClassName: eg",
        &format!("  gatewayClassName: eg\n{parameters}"),
        1,
    );
    let proxy = "\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: p}
spec:
  concurrency: 1
  telemetry:
    accessLog:
      settings:
        - format: {type: JSON, json: {status: '%RESPONSE_CODE%', line: '%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%', team: '%REQ(X-TEAM)%', to: '%RESP(LOCATION)%'}}
          matches:
            - request.headers['x-team'] != ''
            - response.code >= 500
          sinks: [{type: File, file: {path: /dev/stdout}}]
";
    for folder in [&folder, &by_flag_folder] {
        folder.write("a.yaml", &manifests);
        folder.write("proxy.yaml", proxy);
    }
    let gateway = Towergate::start(&folder, &[]);
    let flag = "--access-log-format=line: %RESPONSE_CODE%";
    let by_flag = Towergate::start(&by_flag_folder, &[flag]);

    for gateway in [&gateway, &by_flag] {
        let url = |path| format!("http://{}/{path}", gateway.http);
        curl(&[&url("old?unlogged")]);
        curl(&["-H", "x-team: a", &url("old")]);
    }

    let entry = entry(&gateway, |entry| entry["line"] == "GET /old");
    assert_eq!(entry["status"], 302);
    assert_eq!(entry["team"], "a");
    assert!(entry["to"].is_string(), "{entry}");
    assert!(!gateway.output().contains("unlogged"));
    eventually("the flag takes precedence", || {
        by_flag.output().contains("line: 302\n").then_some(())
    });
}
