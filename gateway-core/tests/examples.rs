//! Runs each example on its own socket, and sends requests to it.
//!
//! A server stops with the runtime of its test.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{ServiceExt, service_fn};

/// A PROXY header with the address of a client.
const CLIENT: &str = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n";
const STRANGER: &str = "PROXY TCP4 198.51.100.9 192.0.2.1 4711 80\r\n";

/// Includes an example as a module. Its `main` is not called.
macro_rules! example {
    ($name:ident, $file:literal) => {
        #[allow(dead_code)]
        #[path = $file]
        mod $name;
    };
}
example!(axum_parts, "../examples/axum.rs");
example!(gateway_axum, "../examples/gateway_axum.rs");
example!(gateway_hyper, "../examples/gateway_hyper.rs");
example!(gateway_tonic, "../examples/gateway_tonic.rs");
example!(hyper_parts, "../examples/hyper.rs");
example!(tonic_parts, "../examples/tonic.rs");

/// Serves a part of an example in the background. Returns its address.
macro_rules! serving {
    ($example:ident, $part:expr) => {{
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            $example::serve($part, socket).await.unwrap();
        });
        address
    }};
}

/// Serves an example with a gateway in the background. Returns its address.
macro_rules! gateway {
    ($example:ident, $users:expr) => {{
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, users) = (socket.local_addr().unwrap(), $users);
        tokio::task::spawn_local(async move {
            $example::serve_on(socket, users).await.unwrap();
        });
        address
    }};
}

/// Runs a test whose futures are not `Send`.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

/// Sends `request` on a connection that is closed after the response. Returns the response.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The error is ignored: if the connection is reset, the request was rejected.
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
async fn the_proxy_protocol_works_alone() {
    local(async {
        let at = serving!(axum_parts, "proxy-protocol");
        let request = CLIENT.to_owned() + &get("/", "a.test", "");
        assert_answer(
            &ask(at, &request).await,
            "200",
            "you are 203.0.113.9:4711, by way of 127.",
        );
        assert_eq!(ask(at, &get("/", "a.test", "")).await, "");

        let at = serving!(hyper_parts, "proxy-protocol");
        assert_answer(
            &ask(at, &request).await,
            "200",
            "peer 203.0.113.9:4711 by way of 127.",
        );
        assert_eq!(ask(at, &get("/", "a.test", "")).await, "");

        let at = serving!(tonic_parts, "proxy-protocol");
        let told = told(call(at, CLIENT, "a.test", &[]).await, "peer");
        assert_eq!(told, "203.0.113.9:4711");
        let none = call(at, "", "a.test", &[]).await;
        assert!(none.is_err(), "{none:?}");
    })
    .await;
}

#[tokio::test]
async fn the_client_ip_layer_works_alone() {
    local(async {
        let request = get("/", "a.test", "x-forwarded-for: 6.6.6.6, 203.0.113.7\r\n");

        let at = serving!(axum_parts, "client-ip");
        assert_answer(&ask(at, &request).await, "200", "you are 203.0.113.7\n");

        let at = serving!(hyper_parts, "client-ip");
        assert_answer(&ask(at, &request).await, "200", "client 203.0.113.7\n");

        let at = serving!(tonic_parts, "client-ip");
        let metadata = [("x-forwarded-for", "6.6.6.6, 203.0.113.7")];
        let told = told(call(at, "", "a.test", &metadata).await, "client");
        assert_eq!(told, "203.0.113.7");
    })
    .await;
}

#[tokio::test]
async fn the_sanitize_layer_works_alone() {
    local(async {
        let request = get("/a/../hello", "A.test:80", "");
        let two_hosts = get("/hello", "a.test", "host: b.test\r\n");

        let at = serving!(axum_parts, "sanitize");
        assert_answer(&ask(at, &request).await, "200", "you asked a.test\n");
        assert_answer(&ask(at, &two_hosts).await, "400", "");

        let at = serving!(hyper_parts, "sanitize");
        assert_answer(&ask(at, &request).await, "200", "/hello of a.test\n");
        assert_answer(&ask(at, &two_hosts).await, "400", "");

        let at = serving!(tonic_parts, "sanitize");
        let answer = call(at, "", "A.test:80", &[]).await;
        assert_eq!(told(answer, "host"), "a.test");
        let error = call(at, "", "a.test", &[("host", "b.test")]).await;
        assert!(error.is_err(), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn the_redirect_layer_works_alone() {
    local(async {
        let moved = "location: https://new.example.org/archive/page?q=1\r\n";
        for at in [
            serving!(axum_parts, "redirect"),
            serving!(hyper_parts, "redirect"),
        ] {
            let answer = ask(at, &get("/old/page?q=1", "a.test", "")).await;
            assert_answer(&answer, "308", moved);
            assert_answer(&ask(at, &get("/older", "a.test", "")).await, "200", "");
        }

        let at = serving!(tonic_parts, "redirect");
        let (status, location) = browse(at, "/docs/x").await;
        assert_eq!(status, 302);
        assert_eq!(location.as_deref(), Some("https://docs.example.org/docs/x"));
        assert!(call(at, "", "a.test", &[]).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn the_route_table_works_alone() {
    local(async {
        for at in [
            serving!(axum_parts, "routes"),
            serving!(hyper_parts, "routes"),
        ] {
            for (path, host, status, part) in [
                ("/api/x", "WWW.example.com", "200", "\r\n\r\napi\n"),
                ("/apix", "www.example.com:80", "200", "\r\n\r\npages\n"),
                ("/api", "example.com", "404", ""),
            ] {
                assert_answer(&ask(at, &get(path, host, "")).await, status, part);
            }
        }

        let at = serving!(tonic_parts, "routes");
        for host in ["one.test", "two.test"] {
            assert_eq!(told(call(at, "", host, &[]).await, "service"), host);
        }
        let error = call(at, "", "three.test", &[]).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
    })
    .await;
}

#[tokio::test]
async fn a_guard_works_alone() {
    local(async {
        let read = get("/", "a.test", "");
        for at in [
            serving!(axum_parts, "guard"),
            serving!(hyper_parts, "guard"),
        ] {
            assert_answer(&ask(at, &read).await, "200", "");
            let write = read.replace("GET", "DELETE");
            assert_answer(&ask(at, &write).await, "405", "");
        }

        let at = serving!(tonic_parts, "guard");
        assert!(call(at, "", "a.test", &[("x-key", "sesame")]).await.is_ok());
        let error = call(at, "", "a.test", &[]).await.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied);
    })
    .await;
}

#[tokio::test]
async fn all_layers_work_in_one_axum_service() {
    local(async {
        let at = serving!(axum_parts, "all");
        let request =
            |path| CLIENT.to_owned() + &get(path, "A.test", "x-forwarded-for: 6.6.6.6\r\n");

        let answer = ask(at, &request("/x/..")).await;
        assert_answer(&answer, "200", "a.test welcomes 203.0.113.9");
        let answer = ask(at, &request("/old/x")).await;
        assert_answer(&answer, "302", "location: http://new.example.org/old/x");
        let write = request("/").replace("GET", "DELETE");
        assert_answer(&ask(at, &write).await, "405", "");
    })
    .await;
}

#[tokio::test]
async fn all_layers_work_in_one_hyper_service() {
    local(async {
        let at = serving!(hyper_parts, "all");
        let request = |path, host| CLIENT.to_owned() + &get(path, host, "");

        let answer = ask(at, &request("//api/../api/x", "WWW.example.com")).await;
        assert_answer(&answer, "200", "api");
        let answer = ask(at, &request("/old", "www.example.com")).await;
        assert_answer(&answer, "302", "location: http://new.example.org/old");
        let write = request("/api", "www.example.com").replace("GET", "DELETE");
        assert_answer(&ask(at, &write).await, "405", "");
    })
    .await;
}

#[tokio::test]
async fn all_layers_work_in_one_tonic_service() {
    local(async {
        let at = serving!(tonic_parts, "all");

        assert_eq!(
            told(call(at, CLIENT, "A.test", &[]).await, "host"),
            "a.test"
        );
        let error = call(at, STRANGER, "a.test", &[]).await.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied);
    })
    .await;
}

/// Sends a gRPC call to `host` from behind a load balancer that sends `header`. Returns the response.
async fn call(
    at: SocketAddr,
    header: &'static str,
    host: &str,
    metadata: &[(&'static str, &'static str)],
) -> Result<tonic::Response<HealthCheckResponse>, Status> {
    let connect = service_fn(move |_| async move {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(header.as_bytes()).await?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    let channel = Endpoint::from_shared(format!("http://{host}"))
        .unwrap()
        .connect_with_connector(connect)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    HealthClient::new(channel).check(request).await
}

/// The results of the Layers, from the metadata of the tonic example.
fn told(answer: Result<tonic::Response<HealthCheckResponse>, Status>, name: &str) -> String {
    let answer = answer.unwrap();
    assert_eq!(answer.get_ref().status, 1);
    let value = answer.metadata().get(name);
    value.unwrap().to_str().unwrap().to_owned()
}

/// Sends a `GET` to a gRPC server. Returns the status and the `location` of the response.
async fn browse(at: SocketAddr, path: &str) -> (u16, Option<String>) {
    let uri = format!("http://{at}{path}");
    let channel = Endpoint::from_shared(uri.clone()).unwrap().connect_lazy();
    let request = http::Request::get(uri).body(tonic::body::Body::empty());
    let response = channel.oneshot(request.unwrap()).await.unwrap();
    let location = response.headers().get("location");
    let location = location.map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), location)
}

#[tokio::test]
async fn the_gateway_works_in_axum_and_hyper_services() {
    local(async {
        // Another example is the server to which `/users` is proxied.
        let users = serving!(axum_parts, "redirect");
        let (axum, hyper) = (
            gateway!(gateway_axum, users),
            gateway!(gateway_hyper, users),
        );

        for at in [axum, hyper] {
            let answer = ask(at, &get("/users/7", "a.test", "")).await;
            assert_answer(&answer, "200", "not moved");
            let answer = ask(at, &get("/", "a.test", "")).await;
            assert_answer(&answer, "200", "our own");
        }
        let other = get("/other", "a.test", "");
        assert_answer(&ask(axum, &other).await, "404", "");
    })
    .await;
}

#[tokio::test]
async fn the_gateway_works_in_a_tonic_server() {
    local(async {
        let at = gateway!(gateway_tonic, users().await);

        assert!(call(at, "", "a.test", &[]).await.is_ok());
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

/// A gRPC service that fails every call with a message.
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
