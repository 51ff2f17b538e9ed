//! Limits of the size of request bodies.
//!
//! | policy | waits for the body | a body above the limit |
//! |---|---|---|
//! | [`RequestBodyLimit`] | no: the body is forwarded while it arrives | 413; the backend has received part of it |
//! | [`RequestBuffering`] | yes: the backend receives a request only if it is complete | 413; the backend has received nothing |
//!
//! If `Content-Length` exceeds the limit, both reply at once, without reading the body. A client that expects
//! `100 Continue` therefore does not send the body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use towergate_core::policy::{
    BodyPolicy, PolicyFuture, PolicyRequest, RejectedBody, WaitingPolicy,
};
use towergate_core::{Body, BoxError, LocalReply};

/// Rejects requests whose body is larger than the limit, without buffering them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RequestBodyLimit {
    /// Maximum size in bytes.
    pub bytes: u64,
}

/// Receives the whole request before it is forwarded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RequestBuffering {
    /// Maximum size in bytes. Larger requests are rejected.
    pub bytes: u64,
}

/// The reply to a request whose body is too large, as in Envoy.
fn too_large() -> LocalReply {
    LocalReply::new(StatusCode::PAYLOAD_TOO_LARGE, "request_payload_too_large")
        .with_body("Payload Too Large")
        .closing()
}

/// Rejects a request whose body is known to be larger than `limit`.
fn check_length(body: &Body, headers: &HeaderMap, limit: u64) -> Result<(), LocalReply> {
    let announced = headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let least = body.size_hint().lower().max(announced.unwrap_or(0));
    if least > limit {
        Err(too_large())
    } else {
        Ok(())
    }
}

impl BodyPolicy for RequestBodyLimit {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        check_length(request.body, &request.head.headers, self.bytes)?;
        let known = request.body.size_hint().upper();
        if request.body.is_end_stream() || known.is_some_and(|most| most <= self.bytes) {
            return Ok(());
        }
        let inner = std::mem::take(request.body);
        *request.body = Body::new(LimitedBody {
            inner,
            left: Some(self.bytes),
        });
        Ok(())
    }
}

impl WaitingPolicy for RequestBuffering {
    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            if request.body.is_end_stream() {
                return Ok(());
            }
            check_length(request.body, &request.head.headers, self.bytes)?;
            let body = std::mem::take(request.body);
            let bytes = collect(body, self.bytes).await?;
            let headers = &mut request.head.headers;
            headers.remove(TRANSFER_ENCODING);
            headers.insert(CONTENT_LENGTH, bytes.len().into());
            *request.body = bytes.into();
            Ok(())
        })
    }
}

/// Reads a body to its end. Trailers are dropped, as in Envoy, which sends a buffered request as one message
/// with a length.
async fn collect(mut body: Body, limit: u64) -> Result<Bytes, LocalReply> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(towergate_core::Error::RequestBody)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = (first.len() + whole.len() + data.len()) as u64;
        if length > limit {
            return Err(too_large());
        }
        // A body that consists of one piece is not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

/// A body that fails when it exceeds a limit.
struct LimitedBody {
    inner: Body,
    /// Number of bytes that may follow. `None`: the limit was exceeded.
    left: Option<u64>,
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(left) = this.left else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx)?);
        let length = frame
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        this.left = left.checked_sub(length as u64);
        Poll::Ready(match this.left {
            Some(_) => frame.map(Ok),
            None => Some(Err(RejectedBody(too_large()).into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use http_body_util::StreamBody;
    use tower::{ServiceExt, service_fn};
    use tower_layer::Layer;
    use towergate_core::policy::{BuiltPolicy, PolicyLayer};

    use super::*;

    /// A body of unknown length.
    fn chunked(parts: &[&'static str]) -> Body {
        let frames: Vec<_> = parts
            .iter()
            .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    /// Returns the status of the response, and the body that the backend has received.
    async fn send(policy: BuiltPolicy, request: Request<Body>) -> (u16, String) {
        let echo = service_fn(|request: Request<Body>| async {
            let length = request.headers().get(CONTENT_LENGTH).cloned();
            let body = request.into_body().collect().await;
            let mut response = Response::new(match body {
                Ok(body) => Body::from(body.to_bytes()),
                Err(error) => {
                    let rejected = error.downcast::<RejectedBody>().unwrap();
                    return Ok(rejected.0.into_response(false));
                }
            });
            if let Some(length) = length {
                response.headers_mut().insert("x-length", length);
            }
            Ok::<_, Infallible>(response)
        });
        let service = PolicyLayer::new(policy).layer(echo);
        let response = service.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let length = response.headers().get("x-length").cloned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let length = length.map(|length| format!("{}:", length.to_str().unwrap()));
        (status, length.unwrap_or_default() + &body)
    }

    #[tokio::test]
    async fn a_streamed_body_is_limited_by_its_length_and_while_it_is_read() {
        let limit = || BuiltPolicy::body(RequestBodyLimit { bytes: 10 });
        let too_large = (413, "Payload Too Large".to_owned());
        let announced = Request::post("/").header(CONTENT_LENGTH, "11");

        let small = Request::new(chunked(&["12345", "67890"]));
        assert_eq!(send(limit(), small).await, (200, "1234567890".to_owned()));
        let large = Request::new(chunked(&["12345", "67890", "1"]));
        assert_eq!(send(limit(), large).await, too_large);
        let announced = announced.body(chunked(&["1"])).unwrap();
        assert_eq!(send(limit(), announced).await, too_large);
        let known = Request::new(Body::from("12345678901"));
        assert_eq!(send(limit(), known).await, too_large);
    }

    #[tokio::test]
    async fn a_buffered_body_has_a_length_and_a_limit() {
        let buffer = || BuiltPolicy::waiting(RequestBuffering { bytes: 10 });
        let chunks = |parts| Request::new(chunked(parts));

        let whole = send(buffer(), chunks(&["123", "45", "67890"])).await;
        assert_eq!(whole, (200, "10:1234567890".to_owned()));
        let empty = send(buffer(), chunks(&[])).await;
        assert_eq!(empty, (200, "0:".to_owned()));
        let large = send(buffer(), chunks(&["123456", "78901"])).await;
        assert_eq!(large, (413, "Payload Too Large".to_owned()));
        let none = send(buffer(), Request::new(Body::empty())).await;
        assert_eq!(none, (200, String::new()));
    }
}
