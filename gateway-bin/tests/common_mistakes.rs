//! The eleven common mistakes of the guide: status, findings of `check`, and response of the gateway.
//!
//! | # | mistake | `status` | `check` | request |
//! |---|---|---|---|---|
//! | 1 | the namespace of the team has no label | `Accepted=False`, `NotAllowedByListeners` | `namespace-not-allowed` | 404 |
//! | 2 | `namespace` is missing in parentRefs | no status | `parent-namespace-missing` | 404 |
//! | 3 | no certificate for the hostname | no condition | `hostname-without-certificate` | the client rejects the first certificate |
//! | 4 | direct mode without a policy | no condition | `client-address-unknown` | 400; TLS fails |
//! | 5 | the policy is in another namespace | no status | `policy-namespace` | as 4 or 8 |
//! | 6 | the PROXY header is optional | no condition | `proxy-protocol-optional` | served without a header |
//! | 7 | the load balancer is bypassed | no condition | `proxy-protocol-required` | closed without a response |
//! | 8 | proxy mode without a policy | no condition | `client-address-unknown` | the proxy counts as the client |
//! | 9 | no proxy in front | no condition | `forwarded-for-trusted` | the peer counts as the client |
//! | 10 | too many trusted hops | no condition | `trusted-hops` | the value of the client counts |
//! | 11 | two client address sources | `Accepted=False`, `Invalid` | `schema-violation` | 500 |
//!
//! If Gateway API has no condition for a mistake, the test asserts that all objects are accepted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::backend::Backend;
use common::findings::{command, conditions, findings};
use common::peers::Front;
use common::{Folder, Towergate, eventually, fetch, tls_secret};

const HOST: &str = "team-a.example.com";

/// The expected status of an object.
enum Status {
    /// The object of this kind and name has this condition: type, status, reason.
    Says(
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
    ),
    /// The object of this kind and name has no status.
    Nothing(&'static str, &'static str),
    /// All objects are accepted.
    AllAccepted,
}

/// Expected output of `check` and `status`.
struct Expected {
    status: Status,
    /// Finding: severity, code, file, and the content of the line.
    check: (&'static str, &'static str, &'static str, &'static str),
}

impl Expected {
    fn holds(&self, folder: &Folder) {
        match self.status {
            Status::Says(kind, name, condition, status, reason) => {
                let all = conditions(folder, kind, name).unwrap();
                let found = all.iter().any(|c| {
                    (c.kind.as_str(), c.status.as_str(), c.reason.as_str())
                        == (condition, status, reason)
                });
                assert!(found, "{kind} {name}: {all:?}");
            }
            Status::Nothing(kind, name) => {
                let all = conditions(folder, kind, name).unwrap_or_default();
                assert!(all.is_empty(), "{kind} {name}: {all:?}");
            }
            Status::AllAccepted => {
                let (all, _) = command(folder, "status", &[]);
                assert!(all.contains("type: Accepted"), "{all}");
                assert!(!all.contains("status: \"False\""), "{all}");
            }
        }
        let (severity, code, file, line) = self.check;
        let all = findings(folder);
        let found = all.iter().find(|found| found.code == code);
        let found = found.unwrap_or_else(|| panic!("{code} is not found: {all:?}"));
        assert_eq!(
            (&*found.severity, &*found.file),
            (severity, file),
            "{found:?}"
        );
        assert!(
            found.line.contains(line) && !found.field.is_empty(),
            "{found:?}"
        );
        assert!(
            !found.message.is_empty() && !found.help.is_empty(),
            "{found:?}"
        );
    }
}

/// Creates a folder with the valid manifests of a mode.
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

/// Creates a folder with the manifests of a mode and a changed policy.
fn with_policy(mode: &str, from: &str, to: &str) -> Folder {
    let folder = working(mode);
    edit(&folder, "client-traffic-policy.yaml", from, to);
    folder
}

/// Replaces text that must be present.
fn edit(folder: &Folder, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    folder.write(file, &text.replacen(from, to, 1));
}

fn start(folder: &Folder) -> (Towergate, Backend) {
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(folder, &["--endpoint", &endpoint]);
    (gateway, backend)
}

/// Sends a request directly to the gateway. Returns the output and exit status of `curl`.
fn ask(gateway: &Towergate, args: &[&str], path: &str) -> (String, i32) {
    let url = format!("https://{HOST}{path}");
    fetch(&gateway.connect_to(HOST), args, &url)
}

/// Returns the client address of a request in the access log.
fn client(gateway: &Towergate, path: &str) -> String {
    let entry = eventually("the access log contains the entry", || {
        gateway.access_log(path).pop()
    });
    let client = entry["downstream_remote_address"].as_str().unwrap();
    client.to_owned()
}

#[test]
fn the_guide_itself_is_accepted_and_has_nothing_but_notes() {
    for mode in ["direct", "proxy"] {
        let folder = working(mode);
        let all = findings(&folder);

        let serious: Vec<_> = all
            .iter()
            .filter(|found| found.severity != "note")
            .collect();

        assert!(serious.is_empty(), "{mode}: {serious:?}");
        let (status, code) = command(&folder, "status", &[]);
        assert_eq!(code, Some(0));
        assert!(!status.contains("status: \"False\""), "{mode}: {status}");
    }
}

#[test]
fn conditions_are_about_the_generation_that_is_written_or_the_first() {
    let folder = working("direct");
    edit(
        &folder,
        "route.yaml",
        "  name: echo\n",
        "  name: echo\n  generation: 7\n",
    );

    for (kind, name, generation) in [
        ("Gateway", "shared", "1"),
        ("HTTPRoute", "echo", "7"),
        ("HTTPRoute", "https-redirect", "1"),
        ("ClientTrafficPolicy", "shared", "1"),
    ] {
        let all = conditions(&folder, kind, name).unwrap();

        assert!(!all.is_empty());
        let same = all
            .iter()
            .all(|condition| condition.generation == generation);
        assert!(same, "{kind} {name}: {all:?}");
    }
}

#[test]
fn mistake_1_the_namespace_is_not_labelled() {
    let folder = working("proxy");
    let text = std::fs::read_to_string(folder.path().join("namespaces.yaml")).unwrap();
    let (first, second) = text.rsplit_once("  labels:").unwrap();
    assert!(second.contains("shared-gateway-access"));
    folder.write("namespaces.yaml", first);
    let expected = Expected {
        status: Status::Says(
            "HTTPRoute",
            "echo",
            "Accepted",
            "False",
            "NotAllowedByListeners",
        ),
        check: (
            "error",
            "namespace-not-allowed",
            "route.yaml",
            "- name: shared",
        ),
    };
    expected.holds(&folder);
    let (gateway, backend) = start(&folder);

    let (response, _) = ask(&gateway, &[], "/");

    assert!(response.contains(" 404"), "{response}");
    assert_eq!(backend.requests(), 0);
}

#[test]
fn mistake_2_the_parent_has_no_namespace() {
    let folder = working("proxy");
    edit(&folder, "route.yaml", "      namespace: gateway\n", "");
    let expected = Expected {
        status: Status::Nothing("HTTPRoute", "echo"),
        check: (
            "error",
            "parent-namespace-missing",
            "route.yaml",
            "- name: shared",
        ),
    };
    expected.holds(&folder);
    let (gateway, backend) = start(&folder);

    let (response, _) = ask(&gateway, &[], "/");

    assert!(response.contains(" 404"), "{response}");
    assert_eq!(backend.requests(), 0);
}

/// A hostname of a route without a matching certificate appears in no condition, because the conditions of a
/// listener do not depend on its routes.
#[test]
fn mistake_3_no_certificate_covers_the_hostname() {
    let folder = working("proxy");
    let secret = tls_secret("gateway", "team-a-tls", "other.example.com");
    folder.write("secret.yaml", &secret);
    let expected = Expected {
        status: Status::AllAccepted,
        check: (
            "warning",
            "hostname-without-certificate",
            "route.yaml",
            "- team-a.example.com",
        ),
    };
    expected.holds(&folder);
    let (gateway, backend) = start(&folder);

    let [_, https] = gateway.connect_to(HOST);
    let url = format!("https://{HOST}/");
    let (response, status) = common::curl(&["--connect-to", &https, &url]);

    assert_eq!(status, 60, "the client rejects the certificate: {response}");
    assert_eq!(backend.requests(), 0);
}

#[test]
fn mistake_3_the_certificate_is_missing_altogether() {
    let folder = working("proxy");
    folder.remove("secret.yaml");
    let expected = Expected {
        status: Status::Says(
            "Gateway",
            "shared",
            "ResolvedRefs",
            "False",
            "InvalidCertificateRef",
        ),
        check: (
            "error",
            "certificate-not-usable",
            "gateway.yaml",
            "certificateRefs:",
        ),
    };
    expected.holds(&folder);
    let (gateway, backend) = start(&folder);

    let (response, status) = ask(&gateway, &[], "/");

    assert_ne!(status, 0, "the TLS handshake must fail: {response}");
    assert_eq!(backend.requests(), 0);
}

/// No condition reports a missing policy: a Gateway without a policy is valid if clients connect directly.
#[test]
fn mistake_4_the_policy_is_forgotten_in_direct_mode() {
    let folder = working("direct");
    folder.remove("client-traffic-policy.yaml");
    let expected = Expected {
        status: Status::AllAccepted,
        check: (
            "note",
            "client-address-unknown",
            "gateway.yaml",
            "name: shared",
        ),
    };
    expected.holds(&folder);

    direct_mode_without_policy(&folder);
}

/// Asserts the responses to a load balancer that sends PROXY headers to ports that do not expect them.
fn direct_mode_without_policy(folder: &Folder) {
    let (gateway, backend) = start(folder);
    let front = Front::haproxy(&gateway, "send-proxy-v2");

    let (plain, _) = fetch(&front.connect_to(HOST), &[], &format!("http://{HOST}/"));
    let (_, tls_status) = fetch(&front.connect_to(HOST), &[], &format!("https://{HOST}/"));

    assert!(plain.starts_with("HTTP/1.1 400 Bad Request"), "{plain}");
    assert_ne!(tls_status, 0);
    assert_eq!(backend.requests(), 0);
    eventually("the log names the cause", || {
        gateway.output().contains("PROXY").then_some(())
    });
}

/// Envoy Gateway writes no status for a policy whose target does not exist, and no condition of the
/// Gateway reports it.
#[test]
fn mistake_5_the_policy_is_in_another_namespace() {
    let expected = Expected {
        status: Status::Nothing("ClientTrafficPolicy", "shared"),
        check: (
            "error",
            "policy-namespace",
            "client-traffic-policy.yaml",
            "- group: gateway.networking.k8s.io",
        ),
    };
    let (from, to) = ("namespace: gateway", "namespace: team-a");
    let (direct, proxy) = (
        with_policy("direct", from, to),
        with_policy("proxy", from, to),
    );
    expected.holds(&direct);
    expected.holds(&proxy);

    direct_mode_without_policy(&direct);
    proxy_mode_without_policy(&proxy);
}

/// The policy is valid and therefore accepted.
#[test]
fn mistake_6_the_proxy_header_is_optional() {
    let folder = with_policy("direct", "optional: false", "optional: true");
    let expected = Expected {
        status: Status::AllAccepted,
        check: (
            "warning",
            "proxy-protocol-optional",
            "client-traffic-policy.yaml",
            "optional: true",
        ),
    };
    expected.holds(&folder);
    let (gateway, backend) = start(&folder);

    let (response, _) = ask(&gateway, &[], "/m6");

    assert!(
        response.contains(" 200"),
        "served without a header: {response}"
    );
    assert_eq!(backend.requests(), 1);
    assert!(client(&gateway, "/m6").starts_with("127.0.0.1:"));
}

/// The manifests are valid. A client bypasses the load balancer.
#[test]
fn mistake_7_the_load_balancer_is_bypassed() {
    let folder = working("direct");
    let expected = Expected {
        status: Status::AllAccepted,
        check: (
            "note",
            "proxy-protocol-required",
            "client-traffic-policy.yaml",
            "proxyProtocol:",
        ),
    };
    expected.holds(&folder);
    let (gateway, backend) = start(&folder);

    let (tls, tls_status) = ask(&gateway, &[], "/");
    let url = format!("http://{HOST}/");
    let (plain, plain_status) = fetch(&gateway.connect_to(HOST), &[], &url);

    assert_ne!(tls_status, 0, "{tls}");
    assert!(
        matches!(plain_status, 52 | 56),
        "closed without a response: {plain_status} {plain}"
    );
    assert_eq!(backend.requests(), 0);
    eventually("the log names the cause", || {
        let said = gateway.output();
        said.contains("the PROXY protocol header that the ClientTrafficPolicy requires is missing")
            .then_some(())
    });
}

/// No condition reports a missing policy, as for mistake 4.
#[test]
fn mistake_8_the_policy_is_forgotten_in_proxy_mode() {
    let folder = working("proxy");
    folder.remove("client-traffic-policy.yaml");
    let expected = Expected {
        status: Status::AllAccepted,
        check: (
            "note",
            "client-address-unknown",
            "gateway.yaml",
            "name: shared",
        ),
    };
    expected.holds(&folder);

    proxy_mode_without_policy(&folder);
}

/// Asserts that the client address header has no effect without a policy.
fn proxy_mode_without_policy(folder: &Folder) {
    let (gateway, _backend) = start(folder);

    let args = ["--http1.1", "-H", "X-Forwarded-For: 203.0.113.7"];
    let (response, _) = ask(&gateway, &args, "/m8");

    assert!(
        response.contains("x-forwarded-for: 203.0.113.7,"),
        "forwarded, but not trusted: {response}"
    );
    assert!(client(&gateway, "/m8").starts_with("127.0.0.1:"));
}

/// The manifests are valid. The proxy that they require is missing.
#[test]
fn mistake_9_no_proxy_stands_in_front() {
    let folder = working("proxy");
    let expected = Expected {
        status: Status::AllAccepted,
        check: (
            "note",
            "forwarded-for-trusted",
            "client-traffic-policy.yaml",
            "xForwardedFor:",
        ),
    };
    expected.holds(&folder);
    let (gateway, _backend) = start(&folder);

    let (response, _) = ask(&gateway, &[], "/m9");
    let forged = ["-H", "X-Forwarded-For: 198.51.100.66"];
    ask(&gateway, &forged, "/m9-forged");

    assert!(response.contains(" 200"), "{response}");
    assert!(
        client(&gateway, "/m9").starts_with("127.0.0.1:"),
        "the peer"
    );
    assert_eq!(client(&gateway, "/m9-forged"), "198.51.100.66:0");
}

/// The manifests are valid, because the number of proxies is not visible in them.
#[test]
fn mistake_10_the_number_of_hops_is_wrong() {
    let folder = with_policy("proxy", "numTrustedHops: 1", "numTrustedHops: 2");
    let expected = Expected {
        status: Status::AllAccepted,
        check: (
            "note",
            "trusted-hops",
            "client-traffic-policy.yaml",
            "numTrustedHops: 2",
        ),
    };
    expected.holds(&folder);
    let (gateway, _backend) = start(&folder);

    let args = ["-H", "X-Forwarded-For: 198.51.100.66, 203.0.113.7"];
    ask(&gateway, &args, "/m10");

    // The client itself has set the first entry.
    assert_eq!(client(&gateway, "/m10"), "198.51.100.66:0");
}

#[test]
fn mistake_11_two_ways_to_find_the_client() {
    let folder = with_policy(
        "proxy",
        "  clientIPDetection:\n",
        "  clientIPDetection:\n    customHeader:\n      name: X-Real-IP\n",
    );
    let expected = Expected {
        status: Status::Says(
            "ClientTrafficPolicy",
            "shared",
            "Accepted",
            "False",
            "Invalid",
        ),
        check: (
            "error",
            "schema-violation",
            "client-traffic-policy.yaml",
            "clientIPDetection:",
        ),
    };
    expected.holds(&folder);
    let (text, code) = command(&folder, "check", &[]);
    let rule = "exactly one of xForwardedFor, customHeader, or directSourceIP must be set";
    assert!(text.contains(rule), "{text}");
    assert_eq!(code, Some(1));
    let (gateway, backend) = start(&folder);

    let (response, _) = ask(&gateway, &[], "/m11");

    assert!(response.contains(" 500"), "{response}");
    assert_eq!(backend.requests(), 0);
}
