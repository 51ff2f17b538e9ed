//! Request bodies of gRPC-Web calls, as gRPC backends receive them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;

use super::TextDecoder;
use crate::body::BoxError;
use crate::policy::RejectedBody;
use crate::{Body, LocalReply};

/// A body of unknown length: calls have no `content-length`.
pub(super) struct BinaryRequestBody(pub(super) Body);

impl http_body::Body for BinaryRequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// A body in base64 that is decoded while it is read.
pub(super) struct TextRequestBody {
    body: Body,
    decoder: TextDecoder,
}

impl TextRequestBody {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            decoder: TextDecoder::default(),
        }
    }

    /// Ends the body with the reply to an invalid one.
    fn reject(&mut self, details: &'static str) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.body = Body::empty();
        self.decoder = TextDecoder::default();
        let reply = LocalReply::new(StatusCode::BAD_REQUEST, details)
            .with_body("Bad gRPC-web request, invalid base64 data.")
            .closing();
        Poll::Ready(Some(Err(RejectedBody(reply).into())))
    }
}

impl http_body::Body for TextRequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => Some(frame),
                None => None,
            };
            let Some(text) = frame.as_ref().and_then(Frame::data_ref) else {
                // The end, or trailers.
                return match self.decoder.is_complete() {
                    true => Poll::Ready(frame.map(Ok)),
                    false => self.reject("grpc_base_64_decode_failed_bad_size"),
                };
            };
            let mut bytes = Vec::new();
            if self.decoder.decode(text, &mut bytes).is_err() {
                return self.reject("grpc_base_64_decode_failed");
            }
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.decoder.is_complete()
    }
}
