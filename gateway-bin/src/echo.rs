//! A backend that answers with what it was asked: `towergate echo`, and the backend of Services with the
//! annotation `towergate.dev/echo: "true"`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use towergate_k8s::ObjectKey;

use crate::Outcome;
use crate::args::EchoArgs;

/// Serves until the process is ended.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) fn run(args: &EchoArgs) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
        eprintln!("echo: http://{}", listener.local_addr()?);
        tokio::select! {
            () = serve(listener, None) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The echo backends of Services: one each, started when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Echoes(BTreeMap<ObjectKey, SocketAddr>);

impl Echoes {
    /// The address of a Service's backend. Must be called within a runtime. `None`, and a word in the
    /// log, if it cannot be started.
    pub(crate) fn address(&mut self, service: &ObjectKey) -> Option<SocketAddr> {
        if let Some(address) = self.0.get(service) {
            return Some(*address);
        }
        match start(service) {
            Ok(address) => {
                self.0.insert(service.clone(), address);
                Some(address)
            }
            Err(error) => {
                tracing::error!(%service, %error, "the built-in echo backend cannot be started");
                None
            }
        }
    }
}

fn start(service: &ObjectKey) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(serve(listener, Some(service.to_string().into())));
    Ok(address)
}

async fn serve(listener: TcpListener, service: Option<Arc<str>>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, peer, service.clone()));
            }
            // Out of file descriptors: closing connections frees some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, service: Option<Arc<str>>) {
    let Ok(http2) = speaks_http2(&stream).await else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    let answer = service_fn(move |request| answer(request, peer, service.clone()));
    // A client that errs or leaves is nothing to tell of.
    let _ = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, answer)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(io, answer)
            .await
    };
}

/// Whether the first bytes are those of HTTP/2 with prior knowledge (RFC 9113, section 3.4). `PRI` is
/// reserved for it, so three bytes tell.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    loop {
        let read = stream.peek(&mut first).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read == first.len() || !b"PRI".starts_with(&first[..read]) {
            return Ok(&first[..read] == b"PRI");
        }
        // A peek returns at once while the same bytes wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    service: Option<Arc<str>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    let told = json!({
        "service": service.as_deref(),
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
        "protocol": format!("{:?}", head.version),
        "host": head.uri.authority().map(|host| host.as_str()).or_else(|| header(&head.headers, "host")),
        "client": peer.to_string(),
        "headers": headers(&head.headers),
        "bodyBytes": length,
    });
    let mut text = serde_json::to_vec_pretty(&told).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Full::from(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Values by name; several of one name as a list.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for name in headers.keys() {
        let mut values: Vec<Value> = headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into())
            .collect();
        let value = if values.len() == 1 {
            values.remove(0)
        } else {
            Value::Array(values)
        };
        map.insert(name.to_string(), value);
    }
    map
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn started() -> SocketAddr {
        Echoes::default()
            .address(&ObjectKey::new("a", "b"))
            .expect("it starts")
    }

    #[tokio::test]
    async fn http1_is_told_what_it_asked() {
        let mut stream = TcpStream::connect(started().await)
            .await
            .expect("it listens");

        let request = "POST /x?y=1 HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it is sent");
        let mut response = String::new();
        stream
            .read_to_string(&mut response)
            .await
            .expect("it is answered");

        let (_, body) = response.split_once("\r\n\r\n").expect("it has a body");
        let told: Value = serde_json::from_str(body).expect("it is JSON");
        assert_eq!(told["service"], "a/b");
        assert_eq!(told["method"], "POST");
        assert_eq!(told["path"], "/x?y=1");
        assert_eq!(told["host"], "h");
        assert_eq!(told["headers"]["a"], json!(["1", "2"]));
        assert_eq!(told["bodyBytes"], 3);
    }

    #[tokio::test]
    async fn http2_with_prior_knowledge_works_too() {
        let stream = TcpStream::connect(started().await)
            .await
            .expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);

        let request = Request::get("http://h/x")
            .body(Full::<Bytes>::default())
            .expect("it is a request");
        let response = sender.send_request(request).await.expect("it is answered");
        let body = response
            .into_body()
            .collect()
            .await
            .expect("it has a body")
            .to_bytes();

        let told: Value = serde_json::from_slice(&body).expect("it is JSON");
        assert_eq!(
            (&told["protocol"], &told["host"]),
            (&json!("HTTP/2.0"), &json!("h"))
        );
    }
}
