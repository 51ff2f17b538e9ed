//! A health probe of an endpoint, over its own connection.

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
use super::io::UpstreamIo;
use crate::body::BoxError;
use crate::plan::{BackendProtocol, EndpointAddress, HttpProbe, Probe};

/// Maximum number of bytes of a response that are examined.
const MAX_RESPONSE: usize = 1024 * 1024;

/// Result of a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProbeResult {
    /// The endpoint is healthy.
    Healthy,
    /// The probe failed. After a number of consecutive failures the endpoint is unhealthy.
    Failed,
    /// The endpoint reports that it is unhealthy.
    Unhealthy,
}

/// Probes the endpoint at `address`. The caller must limit the time: only connecting has a timeout here.
pub(crate) async fn probe(pool: &Pool, address: &EndpointAddress, probe: &Probe) -> ProbeResult {
    let tls = pool.tls();
    let Ok(stream) = connect(address, tls, pool.transport(), pool.preamble()).await else {
        return ProbeResult::Failed;
    };
    let io = stream.io;
    let result = match probe {
        Probe::Http(probe) => {
            let http2 = pool.transport().protocol == BackendProtocol::Http2;
            probe_http(io, address, probe, pool.is_tls(), http2).await
        }
        Probe::Tcp { send, receive } => probe_tcp(io, send, receive).await,
        Probe::Grpc(service) => probe_grpc(io, address, service, pool.is_tls()).await,
    };
    result.unwrap_or(ProbeResult::Failed)
}

async fn probe_http(
    io: UpstreamIo,
    address: &EndpointAddress,
    probe: &HttpProbe,
    tls: bool,
    http2: bool,
) -> Result<ProbeResult, BoxError> {
    let host = probe.host.clone().unwrap_or_else(|| address.host());
    let mut request = Request::new(Full::new(Bytes::from(probe.body.clone())));
    *request.method_mut() = (*probe.method).clone();
    *request.uri_mut() = uri(&host, &probe.path, tls, http2)?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("Envoy/HC"));
    if !http2 {
        headers.insert(HOST, host.parse()?);
    }
    let response = exchange(io, request, http2).await?;
    let status = response.status().as_u16();
    if !probe.expected.contains(&status) {
        return Ok(match probe.retriable.contains(&status) {
            true => ProbeResult::Failed,
            false => ProbeResult::Unhealthy,
        });
    }
    if probe.wanted.is_empty() {
        return Ok(ProbeResult::Healthy);
    }
    let (body, _) = read(response).await?;
    Ok(match contains(&body, &probe.wanted) {
        true => ProbeResult::Healthy,
        false => ProbeResult::Unhealthy,
    })
}

fn uri(host: &str, path: &str, tls: bool, absolute: bool) -> Result<Uri, BoxError> {
    let scheme = if tls { "https" } else { "http" };
    Ok(match absolute {
        true => format!("{scheme}://{host}{path}").parse()?,
        false => path.parse()?,
    })
}

/// Sends a request and reads the response head. A separate task drives the connection until the response
/// ends.
async fn exchange(
    io: UpstreamIo,
    request: Request<Full<Bytes>>,
    http2: bool,
) -> Result<Response<Incoming>, BoxError> {
    let io = TokioIo::new(io);
    if http2 {
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(driver);
        return Ok(sender.send_request(request).await?);
    }
    let (mut sender, driver) = http1::handshake(io).await?;
    tokio::spawn(driver);
    Ok(sender.send_request(request).await?)
}

/// Reads the body up to the limit, and `grpc-status` from the trailers.
async fn read(response: Response<Incoming>) -> Result<(Vec<u8>, Option<HeaderValue>), BoxError> {
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
        if bytes.len() > MAX_RESPONSE {
            break;
        }
    }
    Ok((bytes, status))
}

async fn probe_tcp(
    mut io: UpstreamIo,
    send: &[u8],
    receive: &[u8],
) -> Result<ProbeResult, BoxError> {
    io.write_all(send).await?;
    io.flush().await?;
    let mut received = Vec::new();
    while !contains(&received, receive) {
        if received.len() > MAX_RESPONSE || io.read_buf(&mut received).await? == 0 {
            return Ok(ProbeResult::Failed);
        }
    }
    Ok(ProbeResult::Healthy)
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Calls `grpc.health.v1.Health/Check`. The messages are so small that they are encoded here without a
/// library.
async fn probe_grpc(
    io: UpstreamIo,
    address: &EndpointAddress,
    service: &str,
    tls: bool,
) -> Result<ProbeResult, BoxError> {
    let mut request = Request::new(Full::new(Bytes::from(health_check_request(service))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(&address.host(), "/grpc.health.v1.Health/Check", tls, true)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Envoy/HC"));
    let response = exchange(io, request, true).await?;
    if response.status() != 200 {
        return Ok(ProbeResult::Unhealthy);
    }
    let (body, status) = read(response).await?;
    let ok = status.is_some_and(|status| status == "0");
    Ok(match ok && is_serving(&body) {
        true => ProbeResult::Healthy,
        false => ProbeResult::Unhealthy,
    })
}

/// Encodes a HealthCheckRequest with its gRPC prefix of five bytes. Field 1 is the service name.
fn health_check_request(service: &str) -> Vec<u8> {
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

/// Returns whether field 1 of a HealthCheckResponse is SERVING (1).
fn is_serving(framed: &[u8]) -> bool {
    framed.get(5..7) == Some(&[0x08, 1])
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || memchr::memmem::find(bytes, wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_request_has_its_length_as_prefix() {
        assert_eq!(health_check_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(
            health_check_request("ab"),
            [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']
        );
        let long = health_check_request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn only_serving_is_healthy() {
        assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!is_serving(&[0, 0, 0, 0, 2, 8, 2]));
        assert!(!is_serving(&[0, 0, 0, 0, 0]));
    }
}
