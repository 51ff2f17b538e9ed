//! The examples do what they say: each serves on a socket of its own and is asked something.
//!
//! A server ends with the test's runtime.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{ServiceExt, service_fn};

/// What a load balancer says of a client.
const CLIENT: &str = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n";
const STRANGER: &str = "PROXY TCP4 198.51.100.9 192.0.2.1 4711 80\r\n";

/// An example as a module; its `main` is not called.
macro_rules! example {
    ($name:ident, $file:literal) => {
        #[allow(dead_code)]
        #[path = $file]
        mod $name;
    };
}
example!(all_axum, "../examples/axum.rs");
example!(all_hyper, "../examples/hyper.rs");
example!(all_tonic, "../examples/tonic.rs");
example!(client_ip_axum, "../examples/client_ip_axum.rs");
example!(gateway_axum, "../examples/gateway_axum.rs");
example!(gateway_tonic, "../examples/gateway_tonic.rs");
example!(proxy_protocol_hyper, "../examples/proxy_protocol_hyper.rs");
example!(redirect_axum, "../examples/redirect_axum.rs");
example!(sanitize_axum, "../examples/sanitize_axum.rs");

/// Serves an example in the background; gives its address.
macro_rules! serving {
    ($serve:path $(, $argument:expr)*) => {{
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            $serve(socket $(, $argument)*).await.unwrap();
        });
        address
    }};
}

/// Runs a test where futures need not be `Send`.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

/// Sends `request`, whose connection ends with the answer, and reads the answer.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A connection that is reset was refused.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

fn get(path: &str, host: &str, further: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{further}\r\n")
}

#[track_caller]
fn assert_answer(answer: &str, status: &str, part: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{answer}"
    );
    assert!(answer.contains(part), "{answer}");
}

#[tokio::test]
async fn client_ip_in_axum() {
    local(async {
        let at = serving!(client_ip_axum::serve_on);
        let request = CLIENT.to_owned() + &get("/", "a.test", "x-forwarded-for: 203.0.113.7\r\n");

        assert_answer(&ask(at, &request).await, "200", "you are 203.0.113.7");
    })
    .await;
}

#[tokio::test]
async fn proxy_protocol_in_hyper() {
    local(async {
        let at = serving!(proxy_protocol_hyper::serve_on);
        let request = get("/", "a.test", "");

        let answer = ask(at, &(CLIENT.to_owned() + &request)).await;
        assert_answer(&answer, "200", "you are 203.0.113.9:4711, by way of 127.");
        assert_eq!(ask(at, &request).await, "");
    })
    .await;
}

#[tokio::test]
async fn redirect_in_axum() {
    local(async {
        let at = serving!(redirect_axum::serve_on);

        let answer = ask(at, &get("/old/page?q=1", "a.test", "")).await;
        assert_answer(
            &answer,
            "308",
            "location: https://new.example.org/archive/page?q=1\r\n",
        );
        let answer = ask(at, &get("/health", "a.test", "")).await;
        assert_answer(&answer, "200", "ok");
    })
    .await;
}

#[tokio::test]
async fn sanitize_in_axum() {
    local(async {
        let at = serving!(sanitize_axum::serve_on);

        let answer = ask(at, &get("/a/../hello", "A.test:80", "")).await;
        assert_answer(&answer, "200", "You asked a.test.");
        let answer = ask(at, &get("/hello", "a.test", "host: b.test\r\n")).await;
        assert_answer(&answer, "400", "");
    })
    .await;
}

#[tokio::test]
async fn all_parts_in_axum() {
    local(async {
        let at = serving!(all_axum::serve_on);
        let named = |client: &str| format!("x-forwarded-for: 6.6.6.6, {client}\r\n");
        let request = |path, client| CLIENT.to_owned() + &get(path, "A.test", &named(client));

        let answer = ask(at, &request("/x/..", "203.0.113.7")).await;
        assert_answer(&answer, "200", "a.test welcomes 203.0.113.7");
        let answer = ask(at, &request("/", "198.51.100.1")).await;
        assert_answer(&answer, "403", "");
        let answer = ask(at, &request("/old/x", "203.0.113.7")).await;
        assert_answer(&answer, "302", "location: http://new.example.org/old/x");
    })
    .await;
}

#[tokio::test]
async fn all_parts_in_hyper() {
    local(async {
        let at = serving!(all_hyper::serve_on);
        let request = |path, host| CLIENT.to_owned() + &get(path, host, "");

        let answer = ask(at, &request("//api/../api/x", "WWW.example.com")).await;
        assert_answer(&answer, "200", "api welcome 203.0.113.9");
        let answer = ask(at, &request("/apix", "www.example.com")).await;
        assert_answer(&answer, "200", "pages welcome 203.0.113.9");
        let answer = ask(at, &request("/api", "example.com")).await;
        assert_answer(&answer, "404", "");
        let answer = ask(at, &request("/old", "www.example.com")).await;
        assert_answer(&answer, "302", "location: http://new.example.org/old");
        let write = request("/api", "www.example.com").replace("GET", "DELETE");
        assert_answer(&ask(at, &write).await, "405", "");
    })
    .await;
}

/// A gRPC client behind a load balancer that writes `header`.
async fn grpc(at: SocketAddr, header: &'static str) -> HealthClient<Channel> {
    let connect = service_fn(move |_| async move {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(header.as_bytes()).await?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    let channel = Endpoint::from_static("http://a.test")
        .connect_with_connector(connect)
        .await
        .unwrap();
    HealthClient::new(channel)
}

async fn health(at: SocketAddr, header: &'static str) -> Result<i32, Code> {
    let request = HealthCheckRequest::default();
    let answer = grpc(at, header).await.check(request).await;
    answer
        .map(|answer| answer.into_inner().status)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn all_parts_in_tonic() {
    local(async {
        let at = serving!(all_tonic::serve_on);

        assert_eq!(health(at, CLIENT).await, Ok(1));
        assert_eq!(health(at, STRANGER).await, Err(Code::PermissionDenied));
    })
    .await;
}

#[tokio::test]
async fn the_gateway_in_axum() {
    local(async {
        // Another example plays the users' service.
        let users = serving!(redirect_axum::serve_on);
        let at = serving!(gateway_axum::serve_on, users);

        let answer = ask(at, &get("/users/7", "a.test", "")).await;
        assert_answer(&answer, "200", "not moved");
        let answer = ask(at, &get("/", "a.test", "")).await;
        assert_answer(&answer, "200", "our own");
        let answer = ask(at, &get("/other", "a.test", "")).await;
        assert_answer(&answer, "404", "");
    })
    .await;
}

#[tokio::test]
async fn the_gateway_in_tonic() {
    local(async {
        let at = serving!(gateway_tonic::serve_on, users().await);

        assert_eq!(health(at, "").await, Ok(1));
        let channel = Endpoint::from_shared(format!("http://{at}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let request = http::Request::post(format!("http://{at}/shop.Users/Get"))
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::empty())
            .unwrap();
        let response = channel.oneshot(request).await.unwrap();

        assert_eq!(response.headers()["grpc-message"], "the%20users%20say%20so");
    })
    .await;
}

/// A gRPC service that fails every call in its own words.
async fn users() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let routes = tonic::service::Routes::from(axum::Router::new().fallback(|| async {
        tonic::Status::unavailable("the users say so").into_http::<axum::body::Body>()
    }));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    address
}
