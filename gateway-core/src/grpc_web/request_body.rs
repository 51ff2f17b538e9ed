//! Request bodies of gRPC-Web calls, translated for gRPC backends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::TextDecoder;
use super::transcoded_body::Transcoder;
use crate::body::BoxError;
use crate::{Body, LocalReply};

/// A body whose length is reported as unknown, because gRPC calls have no `content-length`.
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

/// Decodes a request body in base64. Trailers are not changed.
impl Transcoder for TextDecoder {
    fn data(&mut self, text: Bytes) -> Result<Option<Bytes>, LocalReply> {
        let mut bytes = Vec::new();
        if self.decode(&text, &mut bytes).is_err() {
            return Err(self.reject("grpc_base_64_decode_failed"));
        }
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Option<Frame<Bytes>>, LocalReply> {
        if !TextDecoder::is_complete(self) {
            return Err(self.reject("grpc_base_64_decode_failed_bad_size"));
        }
        Ok(trailers.map(Frame::trailers))
    }

    fn is_complete(&self) -> bool {
        TextDecoder::is_complete(self)
    }
}

impl TextDecoder {
    /// The reply to an invalid body.
    fn reject(&mut self, details: &'static str) -> LocalReply {
        *self = Self::default();
        LocalReply::new(StatusCode::BAD_REQUEST, details)
            .with_body("Bad gRPC-web request, invalid base64 data.")
            .closing()
    }
}
