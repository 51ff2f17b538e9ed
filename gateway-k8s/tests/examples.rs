//! The examples work as documented.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[allow(dead_code)]
#[path = "../examples/embed.rs"]
mod embed;

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: moved}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /old}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: new.test, statusCode: 301}}]
";

/// Returns a port that is free at the time of the call.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

async fn ask(port: u16, path: &str) -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_gateway_of_twenty_lines_serves_manifests() {
    let port = free_port();
    let gateway = embed::serve(ROUTE, port).unwrap();

    let moved = ask(port, "/old/x").await;
    let other = ask(port, "/").await;

    assert!(moved.starts_with("HTTP/1.1 301"), "{moved}");
    assert!(
        moved.contains("location: http://new.test/old/x\r\n"),
        "{moved}"
    );
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    assert!(gateway.stop(Instant::now() + Duration::from_secs(10)).await);
}
