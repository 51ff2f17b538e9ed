//! Tests of hyper and the sanitizer together, over a socket.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tower_layer::Layer;
use towergate_core::http::SanitizeLayer;

/// Responds with the method, the target, and the fields of the request sorted by name.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut fields: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    fields.sort();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::from_static(b"cut"),
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    let text = format!("{method} {uri}{} <{body}>", fields.concat());
    Ok(Response::new(text.into()))
}

/// A connection to the echo service behind the sanitizer.
async fn connect(http2: bool) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let io = TokioIo::new(socket);
        let service = SanitizeLayer::default().layer(tower::service_fn(echo));
        let service = service_fn(move |request| service.clone().oneshot(request));
        if http2 {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(io, service).await;
        } else {
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(io, service).await;
        }
    });
    TcpStream::connect(address).await.unwrap()
}

/// Sends a request. Returns the status of the first response, or its body if the status is 200.
async fn ask(request: &str) -> String {
    let mut socket = connect(false).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = &head["HTTP/1.1 ".len()..][..3];
    if status == "200" {
        let first = body.split_inclusive('>').next();
        first.unwrap_or_default().to_owned()
    } else {
        status.to_owned()
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn heads_are_sanitized_or_rejected() {
    for (request, expected) in [
        ("GET /a/../b HTTP/1.1\r\nHost: a.test\r\nConnection: x-a\r\nX-A: 1\r\n\r\n", "GET /b host=a.test <>"),
        ("GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /x host=b.test <>"),
        ("GET /a%2fb HTTP/1.1\r\nHost: a.test\r\n\r\n", "307"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400"),
        ("GET foo HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"),
        ("GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "404"),
        ("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", "404"),
        ("GET /é HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", "426"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nExpect: x\r\n\r\n", "417"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nX_A: 1\r\n\r\n", "400"),
    ] {
        assert_eq!(ask(request).await, expected, "{request}");
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn bodies_have_one_framing() {
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    for (framing, body, expected) in [
        ("Transfer-Encoding: chunked", chunks, "POST / host=a.test <ok>"),
        ("Content-Length: 0002", "ok", "POST / content-length=2 host=a.test <ok>"),
        ("Transfer-Encoding: gzip, chunked", chunks, "501"),
        ("Transfer-Encoding: chunked, chunked", chunks, "501"),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", chunks, "501"),
        ("Transfer-Encoding: identity", "ok", "400"),
        ("Content-Length: 2, 2", "ok", "400"),
        ("Content-Length: 2\r\nContent-Length: 3", "ok!", "400"),
        // hyper uses one of the two framings, and closes the connection.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", chunks, "POST / host=a.test <ok>"),
        ("Content-Length: 2\r\nContent-Length: 2", "ok", "POST / content-length=2 host=a.test <ok>"),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n{body}");

        assert_eq!(ask(&request).await, expected, "{framing}");
    }
}

#[tokio::test]
async fn a_rejection_closes_the_connection() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let refused = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    let request = format!("{refused}0\r\n\r\n{smuggled}");
    let mut socket = connect(false).await;
    socket.write_all(request.as_bytes()).await.unwrap();

    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[rustfmt::skip]
#[tokio::test]
async fn the_same_rules_apply_to_http2() {
    let io = TokioIo::new(connect(true).await);
    let executor = TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let get = |uri: &str| Request::get(uri);

    for (request, status, expected) in [
        (get("http://A.test/a//b").header("cookie", "a=1").header("cookie", "b=2"), 200, "GET /a/b cookie=a=1; b=2 host=A.test <>"),
        (get("http://a.test/").header("host", "a.test"), 200, "GET / host=a.test <>"),
        (get("http://a.test/").header("host", "b.test"), 400, "Bad Request"),
        (get("http://u@a.test/"), 400, "Bad Request"),
        (get("http://a.test/").header("x_a", "1"), 400, "Bad Request"),
        (get("http://a.test/%00"), 400, ""),
        (get("http://a.test/x%5cy"), 307, ""),
    ] {
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let what = format!("{request:?}");
        let response = sender.send_request(request).await.unwrap();

        assert_eq!(response.status(), status, "{what}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(String::from_utf8_lossy(&body), expected, "{what}");
    }
}
