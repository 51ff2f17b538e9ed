//! The steps of the user guide, with its manifests, the `towergate` program and real load balancers:
//! direct mode behind HAProxy with PROXY protocol, proxy mode behind nginx.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::peers::Front;
use common::{Folder, Towergate, curl, eventually, fetch, tls_secret};

const HOST: &str = "team-a.example.com";

/// Creates a folder with the manifests of gateway owner and team for a mode, without the Secret of the
/// certificate.
fn mode(name: &str) -> Folder {
    let folder = Folder::new();
    folder.copy("guide/app");
    folder.copy(&format!("guide/{name}"));
    folder
}

fn endpoint(backend: &Backend) -> String {
    format!("team-a/echo:80={}", backend.address)
}

/// Returns the value of a header in the echoed request or in a response.
fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Returns the body of a response printed by `curl -i`: the echoed request.
fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn direct_mode_works_step_by_step() {
    let backend = Backend::start();
    let folder = mode("direct");
    folder.remove("client-traffic-policy.yaml");
    folder.remove("https-redirect.yaml");
    folder.remove("route.yaml");
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint(&backend)]);
    let front = Front::haproxy(&gateway, "send-proxy-v2");
    let at = front.connect_to(HOST);

    // Without the policy, the gateway rejects every request as malformed.
    let (response, _) = fetch(&at, &[], &format!("http://{HOST}/"));
    assert!(
        response.starts_with("HTTP/1.1 400 Bad Request"),
        "{response}"
    );
    eventually("the log names the cause", || {
        gateway.output().contains("PROXY").then_some(())
    });

    // With the policy, listener `http` serves; the certificate of listener `https` is not available yet.
    folder.copy("guide/direct/client-traffic-policy.yaml");
    folder.copy("guide/direct/https-redirect.yaml");
    folder.copy("guide/app/route.yaml");
    let redirected = eventually("the redirect is served", || {
        let (response, _) = fetch(&at, &[], &format!("http://{HOST}/some/path?q=1"));
        response.starts_with("HTTP/1.1 301").then_some(response)
    });
    assert_eq!(
        header(&redirected, "location"),
        Some("https://team-a.example.com/some/path?q=1")
    );
    let (_, status) = fetch(&at, &[], &format!("https://{HOST}/"));
    assert_ne!(status, 0, "there is no certificate yet");

    // The route of the ACME solver takes precedence over the redirect.
    folder.write("solver.yaml", &solver(&backend));
    eventually("the challenge is served over plain HTTP", || {
        let url = format!("http://{HOST}/.well-known/acme-challenge/token-1");
        fetch(&at, &[], &url)
            .0
            .starts_with("HTTP/1.1 200")
            .then_some(())
    });
    let (response, _) = fetch(&at, &[], &format!("http://{HOST}/other"));
    assert!(response.starts_with("HTTP/1.1 301"), "{response}");
    folder.remove("solver.yaml");

    // A new certificate is served without a restart.
    folder.write("secret.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    let served = eventually("the https listener serves", || {
        let (response, _) = fetch(&at, &["--http1.1"], &format!("https://{HOST}/hello"));
        response.starts_with("HTTP/1.1 200").then_some(response)
    });

    // The backend and the access log have the address of the client, not of the load balancer.
    let request = body(&served);
    assert!(request.starts_with("GET /hello HTTP/1.1"), "{request}");
    assert_eq!(header(request, "host"), Some(HOST));
    assert_eq!(
        header(request, "x-envoy-external-address"),
        Some("127.0.0.1")
    );
    assert_eq!(header(request, "x-forwarded-proto"), Some("https"));
    assert!(header(request, "x-forwarded-for").is_some(), "{request}");
    assert!(header(request, "x-request-id").is_some(), "{request}");
    let entry = eventually("the access log contains the entry", || {
        gateway.access_log("/hello").pop()
    });
    assert_eq!(entry["response_code"], 200);
    assert!(
        entry["downstream_remote_address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:"),
        "{entry}"
    );
    assert_eq!(entry["requested_server_name"], HOST);

    // HTTP/2, negotiated by ALPN.
    let (response, _) = fetch(&at, &["--http2"], &format!("https://{HOST}/h2"));
    assert!(response.starts_with("HTTP/2 200"), "{response}");
}

#[test]
fn direct_mode_closes_connections_without_a_proxy_header() {
    let backend = Backend::start();
    let folder = mode("direct");
    folder.write("secret.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint(&backend)]);

    let (response, status) = fetch(&gateway.connect_to(HOST), &[], &format!("http://{HOST}/"));

    assert_ne!(status, 0, "{response}");
    assert!(
        !response.contains("HTTP/1.1"),
        "closed without an answer: {response}"
    );
    assert_eq!(backend.requests(), 0);
}

#[test]
fn direct_mode_accepts_proxy_protocol_version_1() {
    let backend = Backend::start();
    let folder = mode("direct");
    folder.write("secret.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint(&backend)]);
    let front = Front::haproxy(&gateway, "send-proxy");

    let (response, _) = fetch(
        &front.connect_to(HOST),
        &["--http1.1"],
        &format!("https://{HOST}/v1"),
    );

    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[test]
fn direct_mode_accepts_tlvs() {
    let backend = Backend::start();
    let folder = mode("direct");
    folder.write("secret.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint(&backend)]);
    let front = Front::haproxy(
        &gateway,
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
    );

    let (response, _) = fetch(
        &front.connect_to(HOST),
        &["--http1.1"],
        &format!("https://{HOST}/tlv"),
    );

    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[test]
fn proxy_mode_finds_the_client_in_x_forwarded_for() {
    let backend = Backend::start();
    let folder = mode("proxy");
    folder.remove("client-traffic-policy.custom-header.yaml");
    folder.write("secret.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint(&backend)]);
    let front = Front::nginx(&gateway, HOST);

    let args = ["-H", "X-Forwarded-For: 203.0.113.7"];
    let (response, _) = fetch(
        &front.connect_to(HOST),
        &args,
        &format!("https://{HOST}/proxied"),
    );

    // nginx appends the address of its peer, 127.0.0.1. With one trusted hop, this is the address of the
    // client. Values that the client sets are forwarded, but not trusted.
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let forwarded = header(body(&response), "x-forwarded-for").unwrap();
    assert!(
        forwarded.starts_with("203.0.113.7, 127.0.0.1,"),
        "{forwarded}"
    );
    assert_eq!(header(body(&response), "x-forwarded-proto"), Some("https"));
    assert_eq!(header(body(&response), "x-envoy-external-address"), None);
    let entry = eventually("the access log contains the entry", || {
        gateway.access_log("/proxied").pop()
    });
    assert_eq!(entry["downstream_remote_address"], "127.0.0.1:0");
}

#[test]
fn proxy_mode_finds_the_client_in_a_custom_header() {
    let backend = Backend::start();
    let folder = mode("proxy");
    folder.remove("client-traffic-policy.yaml");
    folder.write("secret.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint(&backend)]);

    let args = ["-H", "X-Real-IP: 198.51.100.23"];
    let (response, _) = fetch(
        &gateway.connect_to(HOST),
        &args,
        &format!("https://{HOST}/real"),
    );

    assert!(response.contains(" 200"), "{response}");
    let entry = eventually("the access log contains the entry", || {
        gateway.access_log("/real").pop()
    });
    assert_eq!(entry["downstream_remote_address"], "198.51.100.23:0");
}

#[test]
fn the_right_certificate_is_chosen_by_sni() {
    let folder = mode("proxy");
    folder.remove("client-traffic-policy.custom-header.yaml");
    let gateway_yaml = std::fs::read_to_string(folder.path().join("gateway.yaml")).unwrap();
    let second = "          - kind: Secret\n            name: team-b-tls\n";
    folder.write(
        "gateway.yaml",
        &(gateway_yaml.trim_end().to_owned() + "\n" + second),
    );
    folder.write("a.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    folder.write(
        "b.yaml",
        &tls_secret("gateway", "team-b-tls", "team-b.example.com"),
    );
    let gateway = Towergate::start(&folder, &[]);

    for (sni, expected) in [
        (HOST, HOST),
        ("team-b.example.com", "team-b.example.com"),
        ("other.test", HOST),
    ] {
        let connect = gateway.https.to_string();
        let command = format!(
            "openssl s_client -connect {connect} -servername {sni} </dev/null 2>/dev/null \
             | openssl x509 -noout -ext subjectAltName"
        );
        let output = common::run("sh", &["-c", &command]);
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(names.contains(&format!("DNS:{expected}")), "{sni}: {names}");
    }
    let (ready, _) = curl(&[&format!("http://{}/ready", gateway.admin)]);
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
}

/// Manifests of the objects that cert-manager creates while it solves a challenge.
fn solver(backend: &Backend) -> String {
    let address = backend.address;
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: cm-acme-http-solver, namespace: gateway}}
spec:
  parentRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: shared, namespace: gateway}}]
  hostnames: [{HOST}]
  rules:
    - matches: [{{path: {{type: Exact, value: /.well-known/acme-challenge/token-1}}}}]
      backendRefs: [{{name: cm-acme-http-solver, port: 8089}}]
---
apiVersion: v1
kind: Service
metadata: {{name: cm-acme-http-solver, namespace: gateway}}
spec:
  ports: [{{name: http, port: 8089}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: cm-acme-http-solver-1
  namespace: gateway
  labels: {{kubernetes.io/service-name: cm-acme-http-solver}}
addressType: IPv4
ports: [{{name: http, port: {}}}]
endpoints: [{{addresses: [{}], conditions: {{ready: true}}}}]
",
        address.port(),
        address.ip(),
    )
}

#[test]
fn refuse_unknown_sni_rejects_unknown_server_names() {
    let folder = mode("proxy");
    folder.remove("client-traffic-policy.custom-header.yaml");
    folder.write("a.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    let gateway = Towergate::start(&folder, &["--refuse-unknown-sni"]);

    for (name, served) in [
        (Some(HOST), true),
        (Some("other.test"), false),
        (None, false),
    ] {
        let option = name.map_or("-noservername".to_owned(), |name| {
            format!("-servername {name}")
        });
        let connect = format!(
            "openssl s_client -connect {} {option} </dev/null 2>&1",
            gateway.https
        );
        let output = common::run("sh", &["-c", &connect]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            text.contains("BEGIN CERTIFICATE"),
            served,
            "{name:?}: {text}"
        );
        // Alert 112 is `unrecognized_name` (RFC 6066, section 3).
        let alert = text.contains("alert number 112");
        assert_eq!(alert, !served, "{name:?}: {text}");
    }
}
