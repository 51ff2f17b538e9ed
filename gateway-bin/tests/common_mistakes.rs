//! Each 'common mistake' of the guide: what `status` and `check` say of it, and what a client sees.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::peers::Front;
use common::{Folder, Towergate, fetch, run, tls_secret};

const HOST: &str = "team-a.example.com";

/// A folder that works in a mode.
fn working(mode: &str) -> Folder {
    let folder = Folder::new();
    folder.copy("guide/app");
    folder.copy(&format!("guide/{mode}"));
    if mode == "proxy" {
        folder.remove("client-traffic-policy.custom-header.yaml");
    }
    folder.write("secret.yaml", &tls_secret("gateway", "team-a-tls", HOST));
    folder
}

/// Replaces text that must be there.
fn edit(folder: &Folder, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    folder.write(file, &text.replacen(from, to, 1));
}

fn start(folder: &Folder) -> (Towergate, Backend) {
    let backend = Backend::start();
    let gateway = Towergate::start(
        folder,
        &["--endpoint", &format!("team-a/echo:80={}", backend.address)],
    );
    (gateway, backend)
}

fn towergate(folder: &Folder, command: &str) -> String {
    let output = run(
        env!("CARGO_BIN_EXE_towergate"),
        &[command, folder.path().to_str().unwrap()],
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The codes that `check` finds.
fn findings(folder: &Folder) -> Vec<String> {
    let path = folder.path().to_str().unwrap();
    let args = [
        "check",
        path,
        "--format",
        "json",
        "--endpoint",
        "team-a/echo:80=127.0.0.1:9",
    ];
    let output = run(env!("CARGO_BIN_EXE_towergate"), &args);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = found
        .as_array()
        .cloned()
        .unwrap_or_else(|| found["diagnostics"].as_array().unwrap().clone());
    list.iter()
        .map(|item| item["code"].as_str().unwrap().to_owned())
        .collect()
}

/// The status stanza of one object, as text.
fn status(folder: &Folder, kind: &str, name: &str) -> Option<String> {
    let all = towergate(folder, "status");
    all.split("\n---\n")
        .find(|document| {
            document.contains(&format!("kind: {kind}\n"))
                && document.contains(&format!("name: {name}\n"))
        })
        .and_then(|document| document.split_once("\nstatus:"))
        .map(|(_, status)| status.to_owned())
}

#[test]
fn the_guide_itself_has_no_findings() {
    for mode in ["direct", "proxy"] {
        let codes = findings(&working(mode));
        let facts = [
            "passed-over",
            "proxy-protocol-required",
            "forwarded-for-trusted",
        ];
        let serious: Vec<_> = codes
            .iter()
            .filter(|code| !facts.contains(&code.as_str()))
            .collect();
        assert!(serious.is_empty(), "{mode}: {serious:?}");
    }
}

#[test]
fn mistake_1_the_namespace_is_not_labelled() {
    let folder = working("proxy");
    let text = std::fs::read_to_string(folder.path().join("namespaces.yaml")).unwrap();
    let (first, second) = text.rsplit_once("  labels:").unwrap();
    assert!(second.contains("shared-gateway-access"));
    folder.write("namespaces.yaml", first);
    let (gateway, _backend) = start(&folder);

    let (response, _) = fetch(&gateway.connect_to(HOST), &[], &format!("https://{HOST}/"));

    assert!(response.contains(" 404"), "{response}");
    let status = status(&folder, "HTTPRoute", "echo").unwrap();
    assert!(status.contains("NotAllowedByListeners"), "{status}");
    assert!(
        findings(&folder).contains(&"namespace-not-allowed".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_2_the_parent_has_no_namespace() {
    let folder = working("proxy");
    edit(&folder, "route.yaml", "      namespace: gateway\n", "");
    let (gateway, _backend) = start(&folder);

    let (response, _) = fetch(&gateway.connect_to(HOST), &[], &format!("https://{HOST}/"));

    assert!(response.contains(" 404"), "{response}");
    assert!(
        status(&folder, "HTTPRoute", "echo").is_none_or(|status| !status.contains("parentRef:"))
    );
    assert!(
        findings(&folder).contains(&"parent-namespace-missing".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_3_no_certificate_covers_the_hostname() {
    let folder = working("proxy");
    folder.write(
        "secret.yaml",
        &tls_secret("gateway", "team-a-tls", "other.example.com"),
    );
    let (gateway, _backend) = start(&folder);

    let at = gateway.connect_to(HOST);
    let strict = ["--connect-to", &at[1], &format!("https://{HOST}/")].map(str::to_owned);
    let (response, status) = common::curl(&strict.iter().map(String::as_str).collect::<Vec<_>>());

    assert_eq!(status, 60, "the client rejects the certificate: {response}");
    assert!(
        findings(&folder).contains(&"hostname-without-certificate".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_4_the_policy_is_forgotten_in_direct_mode() {
    let folder = working("direct");
    folder.remove("client-traffic-policy.yaml");
    let (gateway, backend) = start(&folder);
    let front = Front::haproxy(&gateway, "send-proxy-v2");

    let (plain, _) = fetch(&front.connect_to(HOST), &[], &format!("http://{HOST}/"));
    let (_, tls_status) = fetch(&front.connect_to(HOST), &[], &format!("https://{HOST}/"));

    assert!(plain.starts_with("HTTP/1.1 400 Bad Request"), "{plain}");
    assert_ne!(tls_status, 0);
    assert_eq!(backend.requests(), 0);
    assert!(gateway.output().contains("PROXY"), "{}", gateway.output());
    assert!(
        findings(&folder).contains(&"client-address-unknown".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_5_the_policy_is_in_another_namespace() {
    let folder = working("proxy");
    edit(
        &folder,
        "client-traffic-policy.yaml",
        "namespace: gateway",
        "namespace: team-a",
    );

    assert!(
        status(&folder, "ClientTrafficPolicy", "shared")
            .is_none_or(|status| !status.contains("conditions"))
    );
    assert!(
        findings(&folder).contains(&"policy-namespace".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_6_the_proxy_header_is_optional() {
    let folder = working("direct");
    edit(
        &folder,
        "client-traffic-policy.yaml",
        "optional: false",
        "optional: true",
    );
    let (gateway, _backend) = start(&folder);

    let (response, _) = fetch(&gateway.connect_to(HOST), &[], &format!("http://{HOST}/"));

    assert!(
        response.starts_with("HTTP/1.1 301"),
        "served without a header: {response}"
    );
    assert!(
        findings(&folder).contains(&"proxy-protocol-optional".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_7_the_load_balancer_is_bypassed() {
    let folder = working("direct");
    let (gateway, backend) = start(&folder);

    let (response, status) = fetch(&gateway.connect_to(HOST), &[], &format!("https://{HOST}/"));

    assert_ne!(status, 0, "{response}");
    assert_eq!(backend.requests(), 0);
}

#[test]
fn mistake_8_the_policy_is_forgotten_in_proxy_mode() {
    let folder = working("proxy");
    folder.remove("client-traffic-policy.yaml");
    let (gateway, _backend) = start(&folder);

    let args = ["--http1.1", "-H", "X-Forwarded-For: 203.0.113.7"];
    let (response, _) = fetch(
        &gateway.connect_to(HOST),
        &args,
        &format!("https://{HOST}/m8"),
    );

    assert!(
        response.contains("x-forwarded-for: 203.0.113.7,"),
        "passed on, but not believed: {response}"
    );
    let entry = common::eventually("the access log tells of it", || {
        gateway.access_log("/m8").pop()
    });
    assert!(
        entry["downstream_remote_address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:"),
        "{entry}"
    );
    assert!(
        findings(&folder).contains(&"client-address-unknown".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_9_no_proxy_stands_in_front() {
    let (gateway, _backend) = start(&working("proxy"));

    let (response, _) = fetch(
        &gateway.connect_to(HOST),
        &[],
        &format!("https://{HOST}/m9"),
    );

    assert!(response.contains(" 200"), "{response}");
    let entry = common::eventually("the access log tells of it", || {
        gateway.access_log("/m9").pop()
    });
    assert!(
        entry["downstream_remote_address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:"),
        "the peer: {entry}"
    );
}

#[test]
fn mistake_10_the_number_of_hops_is_wrong() {
    let folder = working("proxy");
    edit(
        &folder,
        "client-traffic-policy.yaml",
        "numTrustedHops: 1",
        "numTrustedHops: 2",
    );
    let (gateway, _backend) = start(&folder);

    let args = ["-H", "X-Forwarded-For: 198.51.100.66, 203.0.113.7"];
    fetch(
        &gateway.connect_to(HOST),
        &args,
        &format!("https://{HOST}/m10"),
    );

    // The first entry is what the client wrote itself.
    let entry = common::eventually("the access log tells of it", || {
        gateway.access_log("/m10").pop()
    });
    assert_eq!(entry["downstream_remote_address"], "198.51.100.66:0");
    assert!(
        findings(&folder).contains(&"trusted-hops".to_owned()),
        "{:?}",
        findings(&folder)
    );
}

#[test]
fn mistake_11_two_ways_to_find_the_client() {
    let folder = working("proxy");
    edit(
        &folder,
        "client-traffic-policy.yaml",
        "  clientIPDetection:\n",
        "  clientIPDetection:\n    customHeader:\n      name: X-Real-IP\n",
    );

    let text = towergate(&folder, "check");
    assert!(
        text.contains("exactly one of xForwardedFor, customHeader, or directSourceIP must be set"),
        "{text}"
    );
}
