//! Backends that respond before they have read the request.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{Folder, Towergate};

const MANIFESTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: hasty, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: hasty}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hasty, labels: {kubernetes.io/service-name: hasty}}
addressType: IPv4
ports: [{port: PORT}]
endpoints: [{addresses: [127.0.0.1]}]
";

/// Starts a backend that responds as soon as it has read the request head. Returns its port.
fn hasty() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), Vec::new());
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            // The connection stays open until the gateway closes it.
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    port
}

#[test]
fn an_early_response_to_an_unfinished_request_has_connection_close() {
    let folder = Folder::new();
    folder.write("a.yaml", &MANIFESTS.replace("PORT", &hasty().to_string()));
    let gateway = Towergate::start(&folder, &[]);
    let mut client = TcpStream::connect(gateway.http).unwrap();

    let request =
        "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}
