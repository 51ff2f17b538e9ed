//! Policies of bodies and responses with the `towergate` program and curl: compression, limits, buffers,
//! replaced responses, faults, and the protocol of the client.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::backend::Backend;
use common::manifests::EDGE;
use common::{Folder, Towergate, curl};

/// A page for replaced responses.
const PAGE: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: page, namespace: team-a}
data: {response.body: '<h1>sorry</h1>'}
";

/// A route for `NAME.test`, and its policy: an annotation or none, and fields of the spec.
fn with_policy(name: &str, annotation: &str, fields: &str) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: team-a}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [{name}.test]
  rules: [{{backendRefs: [{{name: echo, port: 80}}]}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: {name}, namespace: team-a, annotations: {{{annotation}}}}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]
  {fields}
"
    )
}

/// A gateway with one host per policy, in front of a backend that echoes requests.
struct Setup {
    gateway: Towergate,
    backend: Backend,
    _folder: Folder,
}

impl Setup {
    fn start(policies: &[(&str, &str, &str)]) -> Self {
        let folder = Folder::new();
        folder.write("gateway.yaml", EDGE);
        folder.write("page.yaml", PAGE);
        for (name, annotation, fields) in policies {
            let text = with_policy(name, annotation, fields);
            folder.write(&format!("{name}.yaml"), &text);
        }
        let backend = Backend::start();
        let endpoint = format!("team-a/echo:80={}", backend.address);
        let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
        Self {
            gateway,
            backend,
            _folder: folder,
        }
    }

    /// The response to a request for `NAME.test`, with its head in lower case as HTTP/1.1 writes it.
    fn get(&self, name: &str, args: &[&str]) -> String {
        let host = format!("host: {name}.test");
        let url = format!("http://{}", self.gateway.http);
        let mut all = vec!["--header", &*host];
        all.extend(args);
        all.push(&url);
        curl(&all).0
    }
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn curl_decodes_what_the_gateway_compresses() {
    let setup = Setup::start(&[(
        "all",
        "",
        "compressor: [{type: Brotli}, {type: Gzip}, {type: Zstd}]",
    )]);
    for coding in ["gzip", "br", "zstd"] {
        let accept = format!("accept-encoding: {coding}");
        let response = setup.get("all", &["--compressed", "--header", &accept]);

        assert_eq!(status(&response), "200", "{response}");
        assert!(
            response.contains(&format!("content-encoding: {coding}\r\n")),
            "{response}"
        );
        assert!(response.contains("vary: Accept-Encoding\r\n"), "{response}");
        assert!(!response.contains("content-length"), "{response}");
        assert!(
            response.contains("GET / HTTP/1.1\r\n"),
            "decoded: {response}"
        );
        assert!(
            !response.contains(&accept),
            "the backend must not compress: {response}"
        );
    }
    let plain = setup.get("all", &[]);
    assert!(!plain.contains("content-encoding"), "{plain}");
    assert!(plain.contains("vary: Accept-Encoding\r\n"), "{plain}");
}

#[test]
fn bodies_above_a_limit_are_rejected() {
    let annotation = "towergate.dev/max-request-body: '10'";
    let setup = Setup::start(&[
        ("limited", annotation, ""),
        ("buffered", "", "requestBuffer: {limit: '10'}"),
        ("misspelt", "towergate.dev/max-request-size: '10'", ""),
    ]);
    let chunked = [
        "--header",
        "transfer-encoding: chunked",
        "--data",
        "12345678901",
    ];
    for name in ["limited", "buffered"] {
        let small = setup.get(name, &["--data", "1234567890"]);
        assert_eq!(status(&small), "200", "{name}: {small}");
        for large in [&["--data", "12345678901"][..], &chunked[..]] {
            let response = setup.get(name, large);
            assert_eq!(status(&response), "413", "{name}: {response}");
            assert!(response.contains("Payload Too Large"), "{response}");
        }
    }
    let whole = ["--header", "transfer-encoding: chunked", "--data", "12345"];
    let whole = setup.get("buffered", &whole);
    assert!(whole.contains("content-length: 5\r\n"), "{whole}");
    let upgrade = [
        "--header",
        "connection: upgrade",
        "--header",
        "upgrade: websocket",
    ];
    assert_eq!(status(&setup.get("buffered", &upgrade)), "403");
    assert_eq!(status(&setup.get("misspelt", &[])), "500");
}

#[test]
fn responses_are_replaced_by_status() {
    let rate = "rateLimit: {local: {rules: [{limit: {requests: 1, unit: Hour}}]}}";
    let limited = format!(
        "responseOverride: [{{match: {{statusCodes: [{{value: 429}}]}}, response: {{contentType: \
         text/html, body: {{type: ValueRef, valueRef: {{group: '', kind: ConfigMap, name: page}}}}}}}}]\n  {rate}"
    );
    let redirect = "responseOverride: [{match: {statusCodes: [{type: Range, range: {start: 200, end: 299}}]}, \
                    redirect: {scheme: https, hostname: login.test, statusCode: 302}}]";
    let missing = "responseOverride: [{match: {statusCodes: [{value: 404}]}, response: {body: {type: \
                   ValueRef, valueRef: {group: '', kind: ConfigMap, name: nowhere}}}}]";
    let setup = Setup::start(&[
        ("limited", "", &limited),
        ("redirect", "", redirect),
        ("missing", "", missing),
    ]);

    assert_eq!(status(&setup.get("limited", &[])), "200");
    let response = setup.get("limited", &[]);
    assert_eq!(status(&response), "429");
    assert!(
        response.contains("content-type: text/html\r\n"),
        "{response}"
    );
    assert!(response.ends_with("<h1>sorry</h1>"), "{response}");
    let response = setup.get("redirect", &[]);
    assert_eq!(status(&response), "302");
    assert!(
        response.contains("location: https://login.test/\r\n"),
        "{response}"
    );
    assert_eq!(status(&setup.get("missing", &[])), "500");
}

#[test]
fn faults_hit_their_own_route_only() {
    let setup = Setup::start(&[
        ("abort", "", "faultInjection: {abort: {httpStatus: 418}}"),
        (
            "impossible",
            "",
            "faultInjection: {abort: {httpStatus: 600}}",
        ),
        ("slow", "", "faultInjection: {delay: {fixedDelay: 400ms}}"),
        (
            "paced",
            "",
            "bandwidthLimit: {request: {limit: {value: 4Ki, unit: Second}}}",
        ),
    ]);

    let aborted = setup.get("abort", &[]);
    assert_eq!(status(&aborted), "418");
    assert!(aborted.ends_with("fault filter abort"), "{aborted}");
    assert_eq!(status(&setup.get("impossible", &[])), "500");
    assert_eq!(setup.backend.requests(), 0);
    let start = Instant::now();
    assert_eq!(status(&setup.get("slow", &[])), "200");
    assert!(start.elapsed() >= Duration::from_millis(400));
    let start = Instant::now();
    let body = "x".repeat(6 * 1024);
    assert_eq!(status(&setup.get("paced", &["--data", &body])), "200");
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[test]
fn fields_that_protect_nothing_do_not_close_a_route() {
    let setup = Setup::start(&[(
        "traced",
        "",
        "telemetry: {tracing: {samplingFraction: {numerator: 1}}}\n  dns: {respectDnsTtl: false}",
    )]);

    assert_eq!(status(&setup.get("traced", &[])), "200");
}
