//! Session persistence (GEP-1619): a client stays with a backend and an endpoint as long as they are available.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpListener;

use common::{Folder, Towergate, curl};

/// Starts an endpoint that returns its port.
fn endpoint() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let text = port.to_string();
            let length = text.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

/// Endpoints of a Service.
fn service(name: &str, ports: &[u16]) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: ns}}
spec: {{ports: [{{port: 80}}]}}\n"
    );
    for port in ports {
        text += &format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{port}, namespace: ns, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]\n"
        );
    }
    text
}

/// A route whose rules have weighted backends: by cookie, and by header below `/header`.
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: ns}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: ns}
spec:
  parentRefs: [{name: edge}]
  rules:
    - sessionPersistence: {sessionName: sticky}
      backendRefs: [{name: a, port: 80}, {name: b, port: 80}, {name: spare, port: 80, weight: 0}]
    - matches: [{path: {value: /header}}]
      sessionPersistence: {sessionName: x-session, type: Header}
      backendRefs: [{name: a, port: 80}, {name: b, port: 80}, {name: spare, port: 80, weight: 0}]
";

struct Rig {
    gateway: Towergate,
    folder: Folder,
    ports: Vec<u16>,
}

impl Rig {
    fn start(more: &str, args: &[&str]) -> Self {
        let ports: Vec<u16> = (0..5).map(|_| endpoint()).collect();
        let folder = Folder::new();
        folder.write("route.yaml", ROUTE);
        folder.write("a.yaml", &service("a", &ports[..2]));
        folder.write("b.yaml", &service("b", &ports[2..4]));
        folder.write("off.yaml", &service("spare", &ports[4..]));
        if !more.is_empty() {
            folder.write("more.yaml", more);
        }
        Self {
            gateway: Towergate::start(&folder, args),
            folder,
            ports,
        }
    }

    /// Sends a request with a header field. Returns the port of its endpoint, and the value of `field` in the
    /// response.
    fn ask(&self, path: &str, header: &str, field: &str) -> (u16, Option<String>) {
        let url = format!("http://{}{path}", self.gateway.http);
        let (answer, _) = curl(&["-H", header, &url]);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(name, _)| name.eq_ignore_ascii_case(field));
        let value = values.next().map(|(_, value)| value.to_owned());
        (body.trim().parse().unwrap(), value)
    }

    fn by_cookie(&self, pair: &str) -> (u16, Option<String>) {
        self.ask("/", &format!("cookie: {pair}"), "set-cookie")
    }
}

/// The pair of name and value that a browser returns.
fn pair(line: &str) -> &str {
    line.split(';').next().unwrap()
}

#[test]
fn a_client_with_a_cookie_stays_with_backend_and_endpoint() {
    let rig = Rig::start("", &[]);
    let mut seen = HashSet::new();

    for _ in 0..30 {
        let (port, line) = rig.by_cookie("other=1");
        let line = line.unwrap();
        assert!(line.ends_with("; Path=/; HttpOnly"), "{line}");
        seen.insert(port);
        for _ in 0..5 {
            assert_eq!(rig.by_cookie(pair(&line)), (port, None));
        }
    }

    assert!(
        seen.len() >= 3,
        "clients without a session are spread: {seen:?}"
    );
    assert!(!seen.contains(&rig.ports[4]));
}

#[test]
fn a_client_cannot_choose_an_address_that_the_rule_does_not_use() {
    let rig = Rig::start("", &[]);
    let encode = |address: &str| data_encoding::BASE64.encode(address.as_bytes());

    for address in [
        format!("127.0.0.1:{}", rig.ports[4]),
        "127.0.0.1:1".to_owned(),
        "169.254.169.254:80".to_owned(),
    ] {
        let header = format!("x-session: {}", encode(&address));
        let (port, value) = rig.ask("/header", &header, "x-session");
        assert!(rig.ports[..4].contains(&port), "{address}");
        assert_eq!(value, Some(encode(&format!("127.0.0.1:{port}"))));
    }
    for port in &rig.ports[..4] {
        let header = format!("x-session: {}", encode(&format!("127.0.0.1:{port}")));
        assert_eq!(rig.ask("/header", &header, "x-session"), (*port, None));
    }
}

#[test]
fn a_session_moves_to_another_endpoint_when_its_own_is_removed() {
    let rig = Rig::start("", &[]);
    let (port, line) = rig.by_cookie("other=1");
    let line = line.unwrap();
    let (name, ports) = match rig.ports[..2].contains(&port) {
        true => ("a", &rig.ports[..2]),
        false => ("b", &rig.ports[2..4]),
    };
    let rest: Vec<u16> = ports
        .iter()
        .copied()
        .filter(|other| *other != port)
        .collect();
    rig.folder
        .write(&format!("{name}.yaml"), &service(name, &rest));

    let (port, line) = common::eventually("another endpoint", || {
        let (other, line) = rig.by_cookie(pair(&line));
        (other != port).then(|| (other, line.unwrap()))
    });

    assert_eq!(rig.by_cookie(pair(&line)), (port, None));
}

#[test]
fn with_session_keys_a_cookie_shows_no_address_and_cannot_be_forged() {
    let keys = "apiVersion: v1
kind: Secret
metadata: {name: sessions, namespace: ns}
stringData: {key: 0123456789abcdef0123456789abcdef}
";
    let rig = Rig::start(keys, &["--session-keys", "ns/sessions"]);

    let (port, line) = rig.by_cookie("other=1");
    let line = line.unwrap();

    assert_eq!(rig.by_cookie(pair(&line)), (port, None));
    let plain = data_encoding::BASE64.encode(format!("127.0.0.1:{port}").as_bytes());
    assert!(!line.contains(&plain));
    let (_, set) = rig.by_cookie(&format!("sticky=\"{plain}\""));
    assert!(set.is_some(), "an unencrypted address is not a session");
}
