//! SecurityPolicies with the `towergate` program and curl: only permitted requests reach the backend.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use common::backend::Backend;
use common::manifests::EDGE;
use common::{Folder, Towergate, curl, eventually};

/// API key of the user `bob`.
const KEYS: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: team-a}
stringData: {bob: key-bob}
";

/// User `ada` with the password `pass`.
const USERS: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: team-a}
stringData: {.htpasswd: 'ada:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ='}
";

/// A route for `NAME.test`, and its policy.
fn guarded(name: &str, policy: &str) -> String {
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
kind: SecurityPolicy
metadata: {{name: {name}, namespace: team-a}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]
  {policy}
"
    )
}

/// A key set with one shared secret of 32 zero bytes.
const JWT: &str = r#"jwt: {providers: [{name: main, localJWKS: {type: Inline, inline: '{"keys": [{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}'}}]}"#;

fn policies() -> Folder {
    let folder = Folder::new();
    folder.write("gateway.yaml", EDGE);
    folder.write("keys.yaml", KEYS);
    folder.write("users.yaml", USERS);
    for (name, policy) in [
        ("basic", "basicAuth: {users: {name: users}}"),
        (
            "key",
            "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}",
        ),
        ("csrf", "csrf: {}"),
        ("cors", "cors: {allowOrigins: ['https://app.test']}"),
        ("jwt", JWT),
        (
            "team",
            "authorization: {defaultAction: Deny, rules: [{action: Allow, principal: {headers: \
             [{name: x-team, values: [red]}]}}]}",
        ),
    ] {
        folder.write(&format!("{name}.yaml"), &guarded(name, policy));
    }
    folder
}

#[test]
fn only_requests_that_the_policy_admits_reach_the_backend() {
    let folder = policies();
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    let status = |host: &str, args: &[&str]| {
        let (host, url) = (
            format!("host: {host}.test"),
            format!("http://{}", gateway.http),
        );
        let mut all = vec!["--header", &*host];
        all.extend(args);
        all.push(&url);
        let (response, _) = curl(&all);
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    };

    let mut admitted = 0;
    for (host, args, expected) in [
        ("basic", &[][..], "401"),
        ("basic", &["--user", "ada:wrong"], "401"),
        ("basic", &["--user", "bob:pass"], "401"),
        ("basic", &["--user", "ada:pass"], "200"),
        ("key", &[], "401"),
        ("key", &["--header", "x-key: nope"], "401"),
        ("key", &["--header", "x-key: key-bob"], "200"),
        ("csrf", &["--request", "POST"], "403"),
        (
            "csrf",
            &["--request", "POST", "--header", "origin: http://evil.test"],
            "403",
        ),
        (
            "csrf",
            &["--request", "POST", "--header", "origin: http://csrf.test"],
            "200",
        ),
        ("cors", &[], "200"),
        ("jwt", &[], "401"),
        ("jwt", &["--header", "authorization: Bearer a.b.c"], "401"),
        ("team", &[], "403"),
        ("team", &["--header", "x-team: blue"], "403"),
        ("team", &["--header", "x-team: red"], "200"),
    ] {
        assert_eq!(status(host, args), expected, "{host} {args:?}");
        admitted += u64::from(expected == "200");
    }
    assert_eq!(backend.requests(), admitted);
}

/// A client cannot name another user with the field as a trailer, or with `_` in the name of the field.
#[test]
fn a_field_that_a_policy_fills_comes_from_no_client() {
    let folder = Folder::new();
    folder.write("gateway.yaml", EDGE);
    folder.write("keys.yaml", KEYS);
    folder.write("users.yaml", USERS);
    let basic = "basicAuth: {users: {name: users}, forwardUsernameHeader: x-user}";
    folder.write("basic.yaml", &guarded("basic", basic));
    folder.write(
        "client.yaml",
        "\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: client, namespace: team-a}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  headers: {withUnderscoresAction: Allow}
  http1: {enableTrailers: true}
",
    );
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("team-a/echo:80={}", backend.local_addr().unwrap());
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    let received = thread::spawn(move || {
        let (mut stream, _) = backend.accept().unwrap();
        let mut received = Vec::new();
        let ends = |received: &[u8]| {
            let body = received.windows(5).position(|bytes| bytes == b"\r\n0\r\n");
            body.is_some() && received.ends_with(b"\r\n\r\n")
        };
        while !ends(&received) {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "the request is complete");
            received.extend_from_slice(&bytes[..count]);
        }
        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(reply).unwrap();
        String::from_utf8(received).unwrap()
    });

    let mut client = TcpStream::connect(gateway.http).unwrap();
    let request = "POST / HTTP/1.1\r\nhost: basic.test\r\nauthorization: Basic YWRhOnBhc3M=\r\n\
                   x-user: evil\r\nx_user: evil\r\ntrailer: x-user, x_user, x-sum\r\n\
                   transfer-encoding: chunked\r\n\r\n\
                   4\r\ndata\r\n0\r\nx-user: evil\r\nx_user: evil\r\nx-sum: 1\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();

    let received = received.join().unwrap();
    assert!(received.contains("x-user: ada\r\n"), "{received}");
    assert!(received.contains("x-sum: 1\r\n"), "{received}");
    assert!(!received.contains("evil"), "{received}");
}

#[test]
fn the_access_log_has_no_key_that_the_policy_removes() {
    let folder = Folder::new();
    folder.write("gateway.yaml", EDGE);
    folder.write("keys.yaml", KEYS);
    let key = "apiKeyAuth: {credentialRefs: [{name: keys}], sanitize: true, extractFrom: [{params: [key]}]}";
    folder.write("key.yaml", &guarded("key", key));
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);

    for (query, expected) in [("key=key-bob&a=b", "200"), ("a=b&key=key-of-nobody", "401")] {
        let url = format!("http://{}/?{query}", gateway.http);
        let (response, _) = curl(&["--header", "host: key.test", &url]);
        assert_eq!(response.split(' ').nth(1), Some(expected), "{response}");
    }

    eventually("both requests are logged", || {
        (gateway.access_log("/?a=b").len() == 2).then_some(())
    });
    assert!(!gateway.output().contains("key-"), "{}", gateway.output());
}

#[test]
fn a_missing_secret_closes_the_route_until_it_exists() {
    let folder = policies();
    folder.remove("users.yaml");
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    let status = || {
        let url = format!("http://{}", gateway.http);
        let args = ["--header", "host: basic.test", "--user", "ada:pass", &url];
        let (response, _) = curl(&args);
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    };

    assert_eq!(status(), "500");
    folder.write("users.yaml", USERS);

    eventually("the policy is in force", || {
        (status() == "200").then_some(())
    });
}

/// A TCP listener with a route to `echo`, which clients in `network` may use.
fn tcp(network: &str) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: tcp, namespace: team-a}}
spec:
  gatewayClassName: eg
  listeners: [{{name: tcp, port: 443, protocol: TCP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{name: tcp, namespace: team-a}}
spec:
  parentRefs: [{{name: tcp}}]
  rules: [{{backendRefs: [{{name: echo, port: 80}}]}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{name: tcp, namespace: team-a}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: TCPRoute, name: tcp}}]
  authorization: {{defaultAction: Deny, rules: [{{action: Allow, principal: {{clientCIDRs: [{network}]}}}}]}}
"
    )
}

#[test]
fn connections_of_a_tcp_route_are_limited_by_client_address() {
    let folder = policies();
    folder.write("tcp.yaml", &tcp("127.0.0.0/8"));
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    let served = || {
        let (response, _) = curl(&[&format!("http://{}", gateway.https)]);
        response.starts_with("HTTP/1.1 200")
    };

    assert!(served());
    folder.write("tcp.yaml", &tcp("192.0.2.0/24"));

    eventually("the connection is closed", || (!served()).then_some(()));
    let requests = backend.requests();
    assert!(!served());
    assert_eq!(backend.requests(), requests);
}

#[test]
fn a_merged_policy_keeps_the_secret_of_the_gateway_and_its_own() {
    let folder = policies();
    folder.write(
        "merged.yaml",
        "\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: all, namespace: team-a}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  basicAuth: {users: {name: users}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: merged, namespace: team-a}
spec:
  parentRefs: [{name: edge}]
  hostnames: [merged.test]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: merged, namespace: team-a}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: merged}]
  mergeType: JSONMerge
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}
",
    );
    let backend = Backend::start();
    let endpoint = format!("team-a/echo:80={}", backend.address);
    let gateway = Towergate::start(&folder, &["--endpoint", &endpoint]);
    let status = |args: &[&str]| {
        let url = format!("http://{}", gateway.http);
        let mut all = vec!["--header", "host: merged.test"];
        all.extend(args);
        all.push(&url);
        let (response, _) = curl(&all);
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    };

    let (password, key) = (["--user", "ada:pass"], ["--header", "x-key: key-bob"]);
    assert_eq!(status(&password), "401");
    assert_eq!(status(&key), "401");
    assert_eq!(status(&[password, key].concat()), "200");
}
