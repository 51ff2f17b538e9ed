//! Unary gRPC calls (gRPC over HTTP/2) on the gateway's own upstream stack. A call is one HTTP/2 request. Its
//! body is a prefix of five bytes and a message; the status is in the trailers of the response.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use prost::Message;
use towergate_core::Body;
use towergate_core::plan::{BackendProtocol, Destination, WeightedBackend};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Length of the prefix of a message: a flag and four bytes of length.
const PREFIX: usize = 5;

/// The reason why a call returned no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum UnaryCallError {
    /// The HTTP status is not 200.
    #[error("the service returned {0}")]
    Status(StatusCode),
    /// The call failed with this `grpc-status`.
    #[error("the gRPC call failed with status {0}")]
    Grpc(u16),
    /// The response is not a gRPC message.
    #[error("the response is not a gRPC message: {0}")]
    Framing(&'static str),
}

/// Makes calls to `backends` use HTTP/2, regardless of their protocol for other requests.
pub(crate) fn use_http2(backends: &mut [WeightedBackend]) {
    for backend in backends {
        let Destination::Backend(found) = &mut backend.destination else {
            continue;
        };
        if found.protocol != BackendProtocol::Http2 {
            let found = Arc::make_mut(found);
            found.protocol = BackendProtocol::Http2;
            if let Some(tls) = &mut found.tls {
                Arc::make_mut(tls).alpn = vec!["h2".to_owned()];
            }
        }
    }
}

/// The request of a call of the method at `path`.
///
/// # Errors
/// If `authority` is not valid in a URI.
pub(crate) fn request(
    authority: &str,
    path: &str,
    message: &impl Message,
    timeout: Duration,
) -> Result<Request<Body>, http::Error> {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    // Messages are always shorter than 4 GiB.
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut framed);
    Request::post(format!("http://{authority}{path}"))
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(GRPC_TIMEOUT, grpc_timeout(timeout))
        .body(framed.freeze().into())
}

/// The message of a successful call.
///
/// # Errors
/// The call failed, or the response is not exactly one uncompressed message.
pub(crate) fn read_message(
    status: StatusCode,
    headers: &HeaderMap,
    data: &Bytes,
    trailers: Option<&HeaderMap>,
) -> Result<Bytes, UnaryCallError> {
    if status != StatusCode::OK {
        return Err(UnaryCallError::Status(status));
    }
    let code = trailers.and_then(|trailers| trailers.get(GRPC_STATUS));
    let code = code.or_else(|| headers.get(GRPC_STATUS));
    let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
    match code {
        Some(0) => {}
        Some(code) => return Err(UnaryCallError::Grpc(code)),
        None => return Err(UnaryCallError::Framing("no grpc-status")),
    }
    let Some((prefix, message)) = data.split_first_chunk::<PREFIX>() else {
        return Err(UnaryCallError::Framing("no message"));
    };
    let [flag, length @ ..] = *prefix;
    if flag != 0 {
        return Err(UnaryCallError::Framing("compressed without negotiation"));
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(UnaryCallError::Framing("not exactly one message"));
    }
    Ok(data.slice(PREFIX..))
}

/// A timeout in the format of gRPC: at most eight digits and a unit.
fn grpc_timeout(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", time.as_secs().min(99_999_999))
    }
}
