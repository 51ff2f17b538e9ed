//! A backend that returns each request as JSON: `towergate echo`, and the backend of Services with the annotation
//! `towergate.dev/echo: "true"`.

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
use crate::listen_error::describe_flag;

/// Serves until SIGINT.
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
            .map_err(|error| describe_flag("--listen", args.listen, &error))?;
        eprintln!("echo: http://{}", listener.local_addr()?);
        tokio::select! {
            () = serve(listener, None) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The echo backends of Services. Each is started on first use.
#[derive(Debug, Default)]
pub(crate) struct EchoBackends(BTreeMap<ObjectKey, SocketAddr>);

impl EchoBackends {
    /// The address of the backend of a Service. Must be called within a runtime. `None` if the backend cannot
    /// be started; the error is logged.
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
                tracing::error!(%service, %error, "built-in echo backend cannot be started");
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
            // The process has no free file descriptors. Closing connections frees some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, service: Option<Arc<str>>) {
    let Ok(http2) = is_http2(&stream).await else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| respond(request, peer, service.clone()));
    // Connection errors are not logged, because clients cause them.
    let _ = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .await
    };
}

/// Whether the connection starts with the HTTP/2 preface (RFC 9113, section 3.4). Three bytes are sufficient,
/// because the method `PRI` of the preface is reserved.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    loop {
        let read = stream.peek(&mut first).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read == first.len() || !b"PRI".starts_with(&first[..read]) {
            return Ok(&first[..read] == b"PRI");
        }
        // `peek` returns at once while there are unread bytes, so the loop pauses.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn respond(
    request: Request<Incoming>,
    peer: SocketAddr,
    service: Option<Arc<str>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    let echoed = json!({
        "service": service.as_deref(),
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
        "protocol": format!("{:?}", head.version),
        "host": head.uri.authority().map(|host| host.as_str()).or_else(|| header(&head.headers, "host")),
        "client": peer.to_string(),
        "headers": headers(&head.headers),
        "bodyBytes": length,
    });
    let mut text = serde_json::to_vec_pretty(&echoed).unwrap_or_default();
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

/// Header values by name. The value of a repeated header is a list.
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
        EchoBackends::default()
            .address(&ObjectKey::new("a", "b"))
            .expect("a backend")
    }

    #[tokio::test]
    async fn http1_requests_are_returned_as_json() {
        let mut stream = TcpStream::connect(started().await)
            .await
            .expect("a listener");

        let request = "POST /x?y=1 HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request is sent");
        let mut response = String::new();
        stream
            .read_to_string(&mut response)
            .await
            .expect("a response");

        let (_, body) = response.split_once("\r\n\r\n").expect("a body");
        let echoed: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(echoed["service"], "a/b");
        assert_eq!(echoed["method"], "POST");
        assert_eq!(echoed["path"], "/x?y=1");
        assert_eq!(echoed["host"], "h");
        assert_eq!(echoed["headers"]["a"], json!(["1", "2"]));
        assert_eq!(echoed["bodyBytes"], 3);
    }

    #[tokio::test]
    async fn http2_with_prior_knowledge_is_supported() {
        let stream = TcpStream::connect(started().await)
            .await
            .expect("a listener");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);

        let request = Request::get("http://h/x")
            .body(Full::<Bytes>::default())
            .expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();

        let echoed: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            (&echoed["protocol"], &echoed["host"]),
            (&json!("HTTP/2.0"), &json!("h"))
        );
    }
}
