//! Translation of gRPC-Web to gRPC (PROTOCOL-WEB of gRPC), so that browsers can call gRPC backends.
//!
//! | | gRPC-Web | gRPC |
//! |---|---|---|
//! | media type | `application/grpc-web`, `application/grpc-web-text`, each also with `+proto` | `application/grpc` |
//! | request body | messages, in base64 for `-text` | messages |
//! | response body | messages, then one frame with the trailers; in base64 if `Accept` is `-text` | messages |
//! | status | in the last frame of the body, or in the head of a response without messages | in trailers |
//!
//! Both directions are streamed: a message is forwarded while it arrives, so its size is not limited.
//!
//! A response that is not gRPC, such as a local reply or an error of a proxy before the backend, is
//! translated as in Envoy: `grpc-status` in the head follows from the HTTP status, and `grpc-message`
//! contains the text of the response body.
//!
//! [`GrpcWeb`] is a body policy. With [`PolicyLayer`](crate::policy::PolicyLayer), it can be used as a Layer
//! in any server. The gateway translates a request after the policies of the rule have run, so these policies
//! receive the original request.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::Body;
//! use towergate_core::grpc_web::GrpcWeb;
//! use towergate_core::policy::{BuiltPolicy, PolicyLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let backend = service_fn(|request: Request<Body>| async move {
//!     assert_eq!(request.headers()["content-type"], "application/grpc");
//!     let response = Response::builder().header("content-type", "application/grpc");
//!     let response = response.header("grpc-status", "0").body(Body::empty());
//!     Ok::<_, std::io::Error>(response.unwrap_or_default())
//! });
//! let service = PolicyLayer::new(BuiltPolicy::body(GrpcWeb)).layer(backend);
//!
//! let call = Request::post("/echo.Echo/Say").header("content-type", "application/grpc-web+proto");
//! let response = service.oneshot(call.body(Body::empty())?).await?;
//! assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
//! # Ok(())
//! # }
//! ```

mod request_body;
mod response_body;
mod response_head;
mod text;
mod transcoded_body;

pub use text::{InvalidBase64, TextDecoder, TextEncoder};

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue};

use transcoded_body::TranscodedBody;

use crate::policy::{BodyPolicy, PolicyRequest};
use crate::{Body, LocalReply};

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Translates gRPC-Web calls to gRPC, and their responses to gRPC-Web. Other requests are not changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GrpcWeb;

/// Encoding of a gRPC-Web body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WebEncoding {
    /// Frames, unchanged.
    Binary,
    /// Frames in base64.
    Text,
}

impl WebEncoding {
    /// The encoding that a media type denotes. `None` if it is not gRPC-Web with Protocol Buffers.
    fn of(media_type: &[u8]) -> Option<Self> {
        let essence = media_type.split(|byte| *byte == b';').next()?;
        let rest = essence.trim_ascii();
        let (prefix, rest) = rest.split_at_checked(b"application/grpc-web".len())?;
        if !prefix.eq_ignore_ascii_case(b"application/grpc-web") {
            return None;
        }
        match rest.to_ascii_lowercase().as_slice() {
            b"" | b"+proto" => Some(Self::Binary),
            b"-text" | b"-text+proto" => Some(Self::Text),
            _ => None,
        }
    }

    /// The encoding of a request body.
    pub(crate) fn of_request(headers: &HeaderMap) -> Option<Self> {
        Self::of(headers.get(CONTENT_TYPE)?.as_bytes())
    }

    /// The encoding that the client accepts for the response. The encoding is text only if text is the
    /// client's first choice.
    fn accepted(headers: &HeaderMap) -> Self {
        let first = headers.get(ACCEPT).and_then(|accept| {
            let first = accept.as_bytes().split(|byte| *byte == b',').next()?;
            Self::of(first)
        });
        first.unwrap_or(Self::Binary)
    }

    /// Media type of a response.
    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        })
    }
}

impl BodyPolicy for GrpcWeb {
    fn wrap(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        let headers = &mut request.head.headers;
        let Some(encoding) = WebEncoding::of_request(headers) else {
            return Ok(());
        };
        let accepted = WebEncoding::accepted(headers);
        // gRPC requests have no `content-length`: each message has a length prefix.
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let encodings = HeaderValue::from_static("identity,deflate,gzip");
        headers.insert(GRPC_ACCEPT_ENCODING, encodings);
        let body = std::mem::take(request.body);
        *request.body = match encoding {
            WebEncoding::Text => Body::new(TranscodedBody::new(body, TextDecoder::default())),
            // The body is wrapped to report its length as unknown. Otherwise the lower bound of the length
            // would become the `content-length`.
            WebEncoding::Binary => Body::new(request_body::BinaryRequestBody(body)),
        };
        request.on_response(move |response| response_head::translate(response, accepted));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
