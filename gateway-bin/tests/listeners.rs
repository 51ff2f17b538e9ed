//! Listener isolation: a request reaches only routes of its own listener. The cases are those of the Gateway
//! API conformance suite for listeners that share a port.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use common::{Folder, Towergate, fetch, tls_secret};

/// Manifests of a Gateway with `listeners`, and of one route per listener, each with all `hostnames`.
fn manifests(listeners: &[(&str, String)], hostnames: &[&str]) -> String {
    let mut text = "apiVersion: v1
kind: Service
metadata: {name: echo, namespace: ns, annotations: {towergate.dev/echo: \"true\"}}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: ns}
spec:
  gatewayClassName: eg
  listeners:\n"
        .to_owned();
    for (name, rest) in listeners {
        text += &format!("    - {{name: {name}, {rest}}}\n");
    }
    for (name, _) in listeners {
        text += &format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: ns}}
spec:
  parentRefs: [{{name: edge, sectionName: {name}}}]
  hostnames: [{}]
  rules:
    - matches: [{{path: {{value: /{name}}}}}, {{path: {{value: /all}}}}]
      backendRefs: [{{name: echo, port: 80}}]
",
            hostnames.join(", ")
        );
    }
    text
}

fn start(manifests: &str) -> (Folder, Towergate) {
    let folder = Folder::new();
    folder.write("all.yaml", manifests);
    folder.write("secret.yaml", &tls_secret("ns", "tls", "example.org"));
    let gateway = Towergate::start(&folder, &[]);
    (folder, gateway)
}

/// Returns the status of a response.
fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1);
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no status in {answer:?}"))
}

const NAMES: [(&str, &str); 4] = [
    ("empty-hostname", ""),
    ("wildcard-example-com", "*.example.com"),
    ("wildcard-foo-example-com", "*.foo.example.com"),
    ("abc-foo-example-com", "abc.foo.example.com"),
];

/// The field `hostname` of a listener. Empty for a listener that accepts all hosts.
fn hostname_field(hostname: &str) -> String {
    match hostname {
        "" => String::new(),
        hostname => format!(", hostname: \"{hostname}\""),
    }
}

#[test]
fn plain_listeners_of_one_port_are_isolated() {
    let listeners = NAMES.map(|(name, hostname)| {
        (
            name,
            format!("port: 80, protocol: HTTP{}", hostname_field(hostname)),
        )
    });
    let intersecting = [
        "bar.com",
        "\"*.example.com\"",
        "\"*.foo.example.com\"",
        "abc.foo.example.com",
    ];
    for hostnames in [&[][..], &intersecting] {
        let (_folder, gateway) = start(&manifests(&listeners, hostnames));
        for (at, host) in [
            "bar.com",
            "bar.example.com",
            "bar.foo.example.com",
            "abc.foo.example.com",
        ]
        .iter()
        .enumerate()
        {
            for (of, (path, _)) in NAMES.iter().enumerate() {
                let url = format!("http://{host}/{path}");

                let (answer, _) = fetch(&gateway.connect_to(host), &[], &url);

                let expected = if at == of { 200 } else { 404 };
                assert_eq!(status(&answer), expected, "{url} {hostnames:?}");
            }
        }
    }
}

/// Covers all pairs in the table of the conformance suite, over HTTP/2.
#[test]
fn a_request_for_a_listener_other_than_that_of_tls_is_misdirected() {
    let listeners = [
        ("https", ""),
        ("https-with-hostname", "second-example.org"),
        ("https-with-wildcard-hostname", "*.wildcard.org"),
        (
            "https-with-hostname-matching-wildcard",
            "fourth-example.wildcard.org",
        ),
    ]
    .map(|(name, hostname)| {
        let tls = "tls: {certificateRefs: [{name: tls}]}";
        (
            name,
            format!(
                "port: 443, protocol: HTTPS{}, {tls}",
                hostname_field(hostname)
            ),
        )
    });
    let text = manifests(&listeners, &[]).replacen("hostnames: []", "hostnames: [example.org]", 1);
    let (_folder, gateway) = start(&text);

    for (server_name, host, expected) in [
        ("example.org", "example.org", 200),
        ("example.org", "second-example.org", 421),
        ("example.org", "unknown-example.org", 404),
        ("second-example.org", "second-example.org", 200),
        ("second-example.org", "example.org", 421),
        ("second-example.org", "unknown-example.org", 421),
        (
            "third-example.wildcard.org",
            "third-example.wildcard.org",
            200,
        ),
        (
            "third-example.wildcard.org",
            "fith-example.wildcard.org",
            200,
        ),
        (
            "third-example.wildcard.org",
            "fourth-example.wildcard.org",
            421,
        ),
        ("third-example.wildcard.org", "second-example.org", 421),
        ("third-example.wildcard.org", "unknown-example.org", 421),
        (
            "fourth-example.wildcard.org",
            "fourth-example.wildcard.org",
            200,
        ),
        (
            "fourth-example.wildcard.org",
            "fith-example.wildcard.org",
            421,
        ),
        ("unknown-example.org", "example.org", 200),
        ("unknown-example.org", "unknown-example.org", 404),
    ] {
        let field = format!("Host: {host}");
        let url = format!("https://{server_name}/all");

        let (answer, _) = fetch(
            &gateway.connect_to(server_name),
            &["--http2", "-H", &field],
            &url,
        );

        assert!(answer.starts_with("HTTP/2 "), "{answer}");
        assert_eq!(status(&answer), expected, "{server_name} {host}");
    }
}
