//! Retries and timeouts of rules. The cases are those of the Gateway API conformance suite, with backends
//! that fail in the same ways.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Folder, Towergate, curl, free_port};

/// Number of requests per `id`.
type Seen = Arc<Mutex<HashMap<String, u32>>>;

/// Starts a backend whose behaviour depends on the query. It returns `code` for the first `fail` requests,
/// each after `delay` milliseconds, then 200. `code=reset` resets the connection.
fn backend() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let shared = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = shared.clone();
            std::thread::spawn(move || serve(stream, &seen));
        }
    });
    (address, seen)
}

fn serve(mut stream: TcpStream, seen: &Mutex<HashMap<String, u32>>) -> Option<()> {
    loop {
        let first = read_line(&mut stream)?;
        let query = first.split(['?', ' ']).nth(2).unwrap_or_default();
        let word = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let number = |name| {
            word(name)
                .and_then(|text| text.parse::<u32>().ok())
                .unwrap_or(0)
        };
        let before = {
            let mut seen = seen.lock().unwrap();
            let count = seen
                .entry(word("id").unwrap_or_default().to_owned())
                .or_default();
            *count += 1;
            *count - 1
        };
        std::thread::sleep(Duration::from_millis(number("delay").into()));
        let code = word("code")
            .filter(|_| before < number("fail"))
            .unwrap_or("200");
        if code == "reset" {
            // Closing a socket with unread bytes sends a reset.
            return None;
        }
        while !read_line(&mut stream)?.is_empty() {}
        // The backend closes each connection. If a reused connection closed, the gateway would send the
        // request once more even without a retry rule.
        let answer =
            format!("HTTP/1.1 {code} Answer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// Reads a line byte by byte; the bytes after it stay unread.
fn read_line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Manifests of a Gateway, of a route with one rule per name, and of three Services. `app` has a working
/// endpoint, `none` has an endpoint that refuses connections, and `half` has both endpoints.
fn manifests(rules: &[(&str, &str, &str)], backend: SocketAddr) -> String {
    let mut text = "apiVersion: gateway.networking.k8s.io/v1
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
  rules:\n"
        .to_owned();
    for (name, service, settings) in rules {
        text += &format!(
            "    - {{matches: [{{path: {{value: /{name}}}}}], {settings}, backendRefs: [{{name: {service}, port: 80}}]}}\n"
        );
    }
    let closed = free_port();
    for (service, ports) in [
        ("app", vec![backend.port()]),
        ("half", vec![backend.port(), closed]),
        ("none", vec![closed]),
    ] {
        text += &format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: ns}}
spec: {{ports: [{{port: 80}}]}}\n"
        );
        for port in ports {
            text += &format!(
                "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-{port}, namespace: ns, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]\n"
            );
        }
    }
    text
}

const CODES: &str = "codes: [500, 502, 503, 504]";

/// A running gateway and the request counts of its backend.
struct Rig {
    gateway: Towergate,
    seen: Seen,
    _folder: Folder,
}

impl Rig {
    fn start() -> Self {
        let (address, seen) = backend();
        let all = |attempts| format!("retry: {{{CODES}, attempts: {attempts}}}");
        let folder = Folder::new();
        let rules = [
            ("500-3", "app", "retry: {codes: [500], attempts: 3}"),
            ("all-2", "app", &all(2)),
            ("any-2", "app", "retry: {attempts: 2}"),
            ("half", "half", "retry: {attempts: 100}"),
            ("none", "none", "retry: {attempts: 2}"),
            ("slow", "app", "retry: {attempts: 1, backoff: 300ms}"),
            (
                "budget",
                "app",
                "retry: {codes: [500], attempts: 5}, timeouts: {request: 2s}",
            ),
            (
                "each",
                "app",
                "retry: {attempts: 2}, timeouts: {backendRequest: 1s, request: 15s}",
            ),
            (
                "each-500",
                "app",
                "retry: {codes: [500], attempts: 2}, timeouts: {backendRequest: 1s, request: 15s}",
            ),
            ("request", "app", "timeouts: {request: 2s}"),
            ("backend", "app", "timeouts: {backendRequest: 2s}"),
            ("forever", "app", "timeouts: {request: 0s}"),
            ("forever-backend", "app", "timeouts: {backendRequest: 0s}"),
        ];
        folder.write("all.yaml", &manifests(&rules, address));
        Self {
            gateway: Towergate::start(&folder, &[]),
            seen,
            _folder: folder,
        }
    }

    /// Sends a request. Returns the response status and the number of requests to the backend.
    fn ask(&self, path: &str) -> (u16, u32) {
        self.ask_with("GET", path)
    }

    fn ask_with(&self, method: &str, path: &str) -> (u16, u32) {
        let id = format!("{method}{path}").replace(['/', '?', '&', '='], "-");
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("http://{}/{path}{mark}id={id}", self.gateway.http);
        let (answer, _) = curl(&["-X", method, &url]);
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let seen = self.seen.lock().unwrap();
        (status, seen.get(&id).copied().unwrap_or(0))
    }
}

#[test]
fn retries_match_the_conformance_suite() {
    let rig = &Rig::start();
    let table = [
        // Only listed codes are retried, at most `attempts` times after the first try.
        ("500-3?code=500&fail=2", (200, 3)),
        ("500-3?code=500&fail=4", (500, 4)),
        ("500-3?code=503&fail=2", (503, 1)),
        ("all-2?code=500&fail=1", (200, 2)),
        ("all-2?code=500&fail=3", (500, 3)),
        ("all-2?code=502&fail=1", (200, 2)),
        ("all-2?code=502&fail=3", (502, 3)),
        ("all-2?code=503&fail=1", (200, 2)),
        ("all-2?code=503&fail=3", (503, 3)),
        ("all-2?code=504&fail=1", (200, 2)),
        ("all-2?code=504&fail=3", (504, 3)),
        // Failed connections are retried with and without listed codes.
        ("any-2?code=reset&fail=2", (200, 3)),
        ("any-2?code=reset&fail=3", (503, 3)),
        ("any-2?code=500&fail=1", (500, 1)),
        ("500-3?code=reset&fail=2", (200, 3)),
        ("none", (503, 0)),
        // Timeouts per try and in total.
        ("each?code=200&fail=0&delay=0", (200, 1)),
        ("each?code=200&fail=0&delay=3000", (504, 3)),
        ("each-500?code=200&fail=0&delay=3000", (504, 3)),
        ("budget?code=500&fail=1", (200, 2)),
        ("budget?code=500&fail=9&delay=1200", (504, 2)),
        // Timeouts without retries.
        ("request?delay=0", (200, 1)),
        ("request?delay=3000", (504, 1)),
        ("backend?delay=3000", (504, 1)),
        ("forever?delay=1000", (200, 1)),
        ("forever-backend?delay=1000", (200, 1)),
    ];
    // In parallel, because the cases mostly wait for timeouts.
    std::thread::scope(|scope| {
        for (path, expected) in table {
            scope.spawn(move || assert_eq!(rig.ask(path), expected, "{path}"));
        }
    });
    // A backend may have processed a POST before it closes its connection, but not before it returns a code.
    assert_eq!(rig.ask_with("POST", "500-3?code=reset&fail=1"), (503, 1));
    assert_eq!(rig.ask_with("POST", "any-2?code=reset&fail=1"), (503, 1));
    assert_eq!(rig.ask_with("POST", "500-3?code=500&fail=2"), (200, 3));
    for n in 0..10 {
        assert_eq!(rig.ask(&format!("half?n={n}")).0, 200);
    }
    let start = Instant::now();
    assert_eq!(rig.ask("slow?code=503&fail=1"), (200, 2));
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "not before the back-off"
    );
}
