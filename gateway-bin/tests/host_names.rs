//! Backends with a host name. Their addresses come from a DNS server whose responses change.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Folder, Towergate, curl, eventually};

/// A DNS server (RFC 1035) with one address for every name, and a time to live of 1 s.
struct NameServer {
    address: SocketAddr,
    /// Address in the responses. `None`: the response is SERVFAIL.
    record: Arc<Mutex<Option<Ipv4Addr>>>,
    /// Number of queries to which the response was SERVFAIL.
    failures: Arc<AtomicUsize>,
}

impl NameServer {
    fn start(record: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            record: Arc::new(Mutex::new(Some(record))),
            failures: Arc::default(),
        };
        let (record, failures) = (server.record.clone(), server.failures.clone());
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                let record = *record.lock().unwrap();
                failures.fetch_add(usize::from(record.is_none()), Ordering::Relaxed);
                let reply = reply(&query[..length], record);
                let _ = socket.send_to(&reply, client);
            }
        });
        server
    }

    fn set(&self, record: Option<Ipv4Addr>) {
        *self.record.lock().unwrap() = record;
    }
}

/// The response to a query with one question. The answer section is empty for types other than A.
fn reply(query: &[u8], record: Option<Ipv4Addr>) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    let question = &query[12..12 + name + 5];
    let is_address = question[name + 1..name + 3] == [0, 1];
    let answer = record.filter(|_| is_address);
    let (flags, count) = match (record, answer) {
        (None, _) => ([0x81, 0x82], 0),
        (Some(_), None) => ([0x81, 0x80], 0),
        (Some(_), Some(_)) => ([0x81, 0x80], 1),
    };
    let mut reply = [&query[..2], &flags, &[0, 1, 0, count, 0, 0, 0, 0], question].concat();
    if let Some(address) = answer {
        // A pointer to the name of the question, type A, class IN, 1 s, 4 bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

/// Endpoints with one port on two loopback addresses. Each returns its address.
fn endpoints(addresses: [Ipv4Addr; 2]) -> u16 {
    let first = TcpListener::bind((addresses[0], 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind((addresses[1], port)).unwrap();
    for listener in [first, second] {
        let own = listener.local_addr().unwrap().ip().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let length = own.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n");
                let _ = stream.write_all(format!("{head}\r\n{own}").as_bytes());
            }
        });
    }
    port
}

fn manifests(port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: ns}}
spec:
  gatewayClassName: eg
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app, namespace: ns}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: app}}]}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: app, namespace: ns}}
spec:
  endpoints: [{{fqdn: {{hostname: app.example.com, port: {port}}}}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: app, namespace: ns}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}}]
  dns: {{dnsRefreshRate: 1s}}
"
    )
}

#[test]
fn requests_follow_the_answers_of_the_dns_server_and_keep_the_last_one_while_it_fails() {
    let addresses = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    let port = endpoints(addresses);
    let server = NameServer::start(addresses[0]);
    let folder = Folder::new();
    folder.write("app.yaml", &manifests(port));
    let gateway = Towergate::start(&folder, &["--dns-server", &server.address.to_string()]);
    let responder = || {
        let (answer, _) = curl(&[&format!("http://{}/", gateway.http)]);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim());
        body.unwrap_or_default().to_owned()
    };

    assert_eq!(responder(), "127.0.0.2");
    server.set(Some(addresses[1]));
    eventually("the new address", || {
        (responder() == "127.0.0.3").then_some(())
    });
    server.set(None);
    eventually("queries that fail", || {
        assert_eq!(responder(), "127.0.0.3");
        (server.failures.load(Ordering::Relaxed) >= 2).then_some(())
    });
    server.set(Some(addresses[0]));
    eventually("the address after the failure", || {
        (responder() == "127.0.0.2").then_some(())
    });
}
