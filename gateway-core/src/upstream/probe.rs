//! One probe of an endpoint, over a connection of its own.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Pool;
use super::connect::connect;
use super::stream::Stream;
use crate::plan::{BackendProtocol, HttpProbe, Probe};

/// How much of an answer is looked at.
const MAX_ANSWER: usize = 1024 * 1024;

/// What a probe came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The endpoint is well.
    Well,
    /// There was no answer, or one that only counts.
    Failed,
    /// It says that it is not.
    Ill,
}

/// Asks the endpoint at `address`, without a limit of time but that for connecting.
pub(crate) async fn probe(pool: &Pool, address: SocketAddr, probe: &Probe) -> Verdict {
    let tls = pool.tls();
    let Ok(connected) = connect(address, tls, pool.transport()).await else {
        return Verdict::Failed;
    };
    let stream = connected.stream;
    let verdict = match probe {
        Probe::Http(probe) => {
            let http2 = pool.transport().protocol == BackendProtocol::Http2;
            ask_http(stream, address, probe, pool.is_tls(), http2).await
        }
        Probe::Tcp { send, receive } => listen(stream, send, receive).await,
        Probe::Grpc(service) => ask_grpc(stream, address, service, pool.is_tls()).await,
    };
    verdict.unwrap_or(Verdict::Failed)
}

/// What ends a probe early; why does not matter.
type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn ask_http(
    stream: Stream,
    address: SocketAddr,
    probe: &HttpProbe,
    tls: bool,
    http2: bool,
) -> Result<Verdict, Failure> {
    let host = probe.host.clone().unwrap_or_else(|| address.to_string());
    let mut request = Request::new(Full::new(Bytes::from(probe.body.clone())));
    *request.method_mut() = (*probe.method).clone();
    *request.uri_mut() = uri(&host, &probe.path, tls, http2)?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("Envoy/HC"));
    if !http2 {
        headers.insert(HOST, host.parse()?);
    }
    let response = exchange(stream, request, http2).await?;
    let status = response.status().as_u16();
    if !probe.expected.contains(&status) {
        return Ok(match probe.retriable.contains(&status) {
            true => Verdict::Failed,
            false => Verdict::Ill,
        });
    }
    if probe.wanted.is_empty() {
        return Ok(Verdict::Well);
    }
    let (body, _) = read(response).await?;
    Ok(match holds(&body, &probe.wanted) {
        true => Verdict::Well,
        false => Verdict::Ill,
    })
}

fn uri(host: &str, path: &str, tls: bool, whole: bool) -> Result<Uri, Failure> {
    let scheme = if tls { "https" } else { "http" };
    Ok(match whole {
        true => format!("{scheme}://{host}{path}").parse()?,
        false => path.parse()?,
    })
}

/// Sends a request and reads the response's head. The connection is driven by a task that ends with the
/// response.
async fn exchange(
    stream: Stream,
    request: Request<Full<Bytes>>,
    http2: bool,
) -> Result<Response<Incoming>, Failure> {
    let io = TokioIo::new(stream);
    if http2 {
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(driver);
        return Ok(sender.send_request(request).await?);
    }
    let (mut sender, driver) = http1::handshake(io).await?;
    tokio::spawn(driver);
    Ok(sender.send_request(request).await?)
}

/// The body, as far as it is looked at, and `grpc-status` of its trailers.
async fn read(response: Response<Incoming>) -> Result<(Vec<u8>, Option<HeaderValue>), Failure> {
    let mut status = response.headers().get(GRPC_STATUS).cloned();
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => {
                let trailers = frame.trailers_ref();
                status = trailers
                    .and_then(|t| t.get(GRPC_STATUS).cloned())
                    .or(status);
            }
        }
        if bytes.len() > MAX_ANSWER {
            break;
        }
    }
    Ok((bytes, status))
}

async fn listen(mut stream: Stream, send: &[u8], receive: &[u8]) -> Result<Verdict, Failure> {
    stream.write_all(send).await?;
    stream.flush().await?;
    let mut heard = Vec::new();
    while !holds(&heard, receive) {
        if heard.len() > MAX_ANSWER || stream.read_buf(&mut heard).await? == 0 {
            return Ok(Verdict::Failed);
        }
    }
    Ok(Verdict::Well)
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// `grpc.health.v1.Health/Check`: one small message each way, so that no codec is needed.
async fn ask_grpc(
    stream: Stream,
    address: SocketAddr,
    service: &str,
    tls: bool,
) -> Result<Verdict, Failure> {
    let mut request = Request::new(Full::new(Bytes::from(question(service))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(
        &address.to_string(),
        "/grpc.health.v1.Health/Check",
        tls,
        true,
    )?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Envoy/HC"));
    let response = exchange(stream, request, true).await?;
    if response.status() != 200 {
        return Ok(Verdict::Ill);
    }
    let (body, status) = read(response).await?;
    let fine = status.is_some_and(|status| status == "0");
    Ok(match fine && says_serving(&body) {
        true => Verdict::Well,
        false => Verdict::Ill,
    })
}

/// A HealthCheckRequest with its five-byte prefix: field 1 is the service's name.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

/// Whether a HealthCheckResponse has SERVING (1) in field 1.
fn says_serving(framed: &[u8]) -> bool {
    framed.get(5..7) == Some(&[0x08, 1])
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || memchr::memmem::find(bytes, wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_message_with_its_length() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn only_serving_is_well() {
        assert!(says_serving(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!says_serving(&[0, 0, 0, 0, 2, 8, 2]));
        assert!(!says_serving(&[0, 0, 0, 0, 0]));
    }
}
