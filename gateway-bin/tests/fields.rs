//! Timeouts, limits and health checks of policies, with the `towergate` program.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::manifests::{EVERY_REQUEST, app};
use common::{Folder, Towergate, curl, eventually};

/// A backend that counts its requests and whose behaviour depends on the path.
struct Toy {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Toy {
    /// Starts a backend. `status` is the response status for all other paths.
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicU64>::default();
        let count = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || serve(stream, status, &count));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, status: u16, count: &AtomicU64) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(path) = read_head(&mut reader) {
        count.fetch_add(1, Ordering::SeqCst);
        let begin = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegin";
        match path.as_str() {
            "/never" => std::thread::sleep(Duration::from_secs(60)),
            "/stalls" => {
                stream.write_all(begin).unwrap();
                std::thread::sleep(Duration::from_secs(60));
            }
            "/drips" => {
                stream.write_all(begin).unwrap();
                while stream.write_all(b".").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return;
            }
            _ => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\ndone");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    }
}

/// Reads a request without a body. Returns its path, or `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    head.split(' ').nth(1).map(str::to_owned)
}

/// Starts a gateway with a route to `backends` and a policy of `kind` with `spec`.
fn start(kind: &str, spec: &str, backends: &[&Toy]) -> (Folder, Towergate) {
    let target = match kind {
        "ClientTrafficPolicy" => "{group: gateway.networking.k8s.io, kind: Gateway, name: shared}",
        _ => "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}",
    };
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let app = app("HTTPRoute", EVERY_REQUEST, &addresses);
    let text = format!(
        "{app}---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: {kind}
metadata: {{name: policy, namespace: team}}
spec:
  targetRefs: [{target}]
{spec}
"
    );
    let folder = Folder::new();
    folder.write("all.yaml", &text);
    let gateway = Towergate::start(&folder, &[]);
    (folder, gateway)
}

/// Returns the output and exit status of `curl`.
fn fetch(gateway: &Towergate, path: &str) -> (String, i32) {
    curl(&[&format!("http://{}{path}", gateway.http)])
}

/// Returns response flags and details of the only access log entry of a path.
fn logged(gateway: &Towergate, path: &str) -> (String, String) {
    let entry = eventually("it is logged", || gateway.access_log(path).pop());
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    (text("response_flags"), text("response_code_details"))
}

/// Asserts that a response is truncated, and its flags and details in the access log.
fn is_cut_off(gateway: &Towergate, path: &str, flags: &str, details: &str) {
    let started = Instant::now();
    let (text, code) = fetch(gateway, path);

    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("begin"),
        "{text}"
    );
    assert_ne!(code, 0, "the response must be truncated");
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
    let (seen_flags, seen_details) = logged(gateway, path);
    assert_eq!((&*seen_flags, &*seen_details), (flags, details));
}

#[test]
fn a_rule_has_its_own_idle_timeout() {
    let backend = Toy::start(200);
    let spec = "  timeout: {http: {streamIdleTimeout: 400ms}}";
    let (_folder, gateway) = start("BackendTrafficPolicy", spec, &[&backend]);

    let (never, _) = fetch(&gateway, "/never");

    assert!(never.starts_with("HTTP/1.1 504"), "{never}");
    assert!(never.ends_with("stream timeout"), "{never}");
    is_cut_off(&gateway, "/stalls", "SI", "stream_idle_timeout");
    // A stream with traffic is not idle, so the time limit of curl ends it.
    let url = format!("http://{}/drips", gateway.http);
    let (drips, _) = curl(&["--max-time", "1.5", &url]);
    assert!(drips.matches('.').count() > 10, "{drips}");
}

#[test]
fn the_stream_duration_of_a_backend_is_limited() {
    let backend = Toy::start(200);
    let spec = "  timeout: {http: {maxStreamDuration: 700ms}}";
    let (_folder, gateway) = start("BackendTrafficPolicy", spec, &[&backend]);

    let (never, _) = fetch(&gateway, "/never");

    assert!(never.starts_with("HTTP/1.1 504"), "{never}");
    assert!(
        never.ends_with("upstream max stream duration reached"),
        "{never}"
    );
    let details = "upstream_max_stream_duration_reached";
    is_cut_off(&gateway, "/drips", "UMSDR", details);
}

#[test]
fn the_stream_duration_of_a_client_is_limited() {
    let backend = Toy::start(200);
    let spec = "  connection: {connectionLimit: {maxStreamDuration: 700ms}}";
    let (_folder, gateway) = start("ClientTrafficPolicy", spec, &[&backend]);

    let (never, _) = fetch(&gateway, "/never");

    assert!(never.starts_with("HTTP/1.1 504"), "{never}");
    assert!(never.ends_with("downstream duration timeout"), "{never}");
    is_cut_off(&gateway, "/drips", "-", "max_duration_timeout");
    assert!(fetch(&gateway, "/").0.ends_with("done"));
}

#[test]
fn an_ejected_endpoint_receives_no_requests() {
    let (fine, broken) = (Toy::start(200), Toy::start(500));
    let spec = "  loadBalancer: {type: RoundRobin}
  healthCheck: {passive: {consecutive5XxErrors: 2, maxEjectionPercent: 50}}";
    let (_folder, gateway) = start("BackendTrafficPolicy", spec, &[&fine, &broken]);

    for _ in 0..30 {
        fetch(&gateway, "/");
    }

    assert_eq!(broken.requests(), 2);
    assert_eq!(fine.requests(), 28);
}

#[test]
fn an_unhealthy_endpoint_receives_no_requests() {
    let (fine, ill) = (Toy::start(200), Toy::start(500));
    let spec = "  loadBalancer: {type: RoundRobin}
  healthCheck: {active: {type: HTTP, interval: 100ms, http: {path: /up}}, panicThreshold: 10}";
    let (_folder, gateway) = start("BackendTrafficPolicy", spec, &[&fine, &ill]);

    fetch(&gateway, "/");
    eventually("the endpoint is asked", || {
        (ill.requests() > 2).then_some(())
    });

    for _ in 0..20 {
        let (text, _) = fetch(&gateway, "/");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

#[test]
fn retries_stay_within_their_budget() {
    let backend = Toy::start(503);
    let spec = "  retry: {numRetries: 3}
  circuitBreaker: {retryBudget: {percent: {numerator: 0}, minRetryConcurrency: 0}}";
    let (_folder, gateway) = start("BackendTrafficPolicy", spec, &[&backend]);

    fetch(&gateway, "/");

    assert_eq!(backend.requests(), 1);
    assert_eq!(logged(&gateway, "/").0, "UO");
}

#[test]
fn a_rule_can_limit_requests_and_configure_its_connections() {
    let backend = Toy::start(200);
    let spec = "  timeout: {http: {requestTimeout: 600ms, connectionIdleTimeout: 1s}}
  tcpKeepalive: {idleTime: 77s, interval: 11s, probes: 4}
  connection: {bufferLimit: 64Ki, socketBufferLimit: 64Ki}
  http2: {initialStreamWindowSize: 128Ki, connectionKeepalive: {interval: 10s, timeout: 5s}}";
    let (_folder, gateway) = start("BackendTrafficPolicy", spec, &[&backend]);

    let (never, _) = fetch(&gateway, "/never");
    let (done, _) = fetch(&gateway, "/");

    assert!(never.ends_with("upstream request timeout"), "{never}");
    assert!(done.ends_with("done"), "{done}");
}
