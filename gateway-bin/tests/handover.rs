//! A process takes over the ports of another one: no request is lost.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Folder, Towergate, eventually};

const MANIFESTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: t}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: t, annotations: {towergate.dev/echo: 'true'}}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: t}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
";

/// The status line of a request on a connection of its own.
fn status(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response.lines().next().unwrap_or_default().to_owned())
}

/// Ends the clients, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_request_is_lost_while_processes_replace_each_other() {
    let folder = Folder::new();
    folder.write("edge.yaml", MANIFESTS);
    let mut current = Towergate::start(&folder, &["--reuse-port"]);
    let address = current.http;
    let map = format!("80={}", address.port());
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));

    std::thread::scope(|scope| {
        let end = End(&over);
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(status(address).unwrap(), "HTTP/1.1 200 OK");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            let next = Towergate::start(&folder, &["--reuse-port", "--port", &map]);
            current.signal("TERM");
            assert_eq!(current.wait(), Some(0));
            current = next;
            let before = served.load(Ordering::Relaxed);
            eventually("the new process serves", || {
                (served.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        }
        drop(end);
        for client in clients {
            client.join().unwrap();
        }
    });
}
