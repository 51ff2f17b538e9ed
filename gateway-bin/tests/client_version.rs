//! The HTTP version of the client in policies and in operators of the access log.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::{Folder, Towergate, curl, run};

const MANIFESTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: early}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  headers: {earlyRequestHeaders: {set: [{name: x-early, value: '%PROTOCOL%'}]}}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: only-http2}
spec:
  parentRefs: [{name: edge}]
  hostnames: [only-http2.test]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: only-http2}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: only-http2}]
  authorization: {defaultAction: Allow, rules: [{action: Deny, cel: \"request.protocol != 'HTTP/2'\"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: paced}
spec:
  parentRefs: [{name: edge}]
  hostnames: [paced.test]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: paced}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: paced}]
  bandwidthLimit: {response: {limit: {unit: Second, value: 128}, responseTrailers: {prefix: z}}}
";

#[test]
fn policies_and_operators_see_the_version_of_the_client() {
    let folder = Folder::new();
    folder.write("all.yaml", MANIFESTS);
    let backend = Backend::start();
    let endpoint = format!("default/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    let get = |host: &str, version: &str| {
        let host = format!("host: {host}.test");
        let url = format!("http://{}", gateway.http);
        curl(&[version, "--header", &host, &url]).0
    };
    const HTTP1: &str = "--http1.1";
    const HTTP2: &str = "--http2-prior-knowledge";

    assert!(get("only-http2", HTTP1).starts_with("HTTP/1.1 403"));
    let allowed = get("only-http2", HTTP2);
    assert!(allowed.starts_with("HTTP/2 200"), "{allowed}");
    assert!(allowed.contains("x-early: HTTP/2"), "{allowed}");

    // curl stops at the last byte of the body and does not show trailers.
    let url = format!("http://{}", gateway.http);
    let output = run("nghttp", &["-nv", "-H:authority: paced.test", &url]);
    let paced = String::from_utf8_lossy(&output.stdout);
    assert!(paced.contains("z-bandwidth-response-delay-ms:"), "{paced}");
}
