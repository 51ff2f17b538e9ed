//! Response bodies of gRPC backends, as gRPC-Web clients receive them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use data_encoding::BASE64;
use http::HeaderMap;
use http_body::Frame;

use super::{TextEncoder, WebEncoding};
use crate::Body;
use crate::body::BoxError;
use crate::http::trailers;

/// Flags of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// Messages, and the trailers in a last frame.
pub(super) struct WebResponseBody {
    body: Body,
    /// `None`: binary.
    encoder: Option<TextEncoder>,
}

impl WebResponseBody {
    pub(super) fn new(body: Body, encoding: WebEncoding) -> Self {
        Self {
            body,
            encoder: (encoding == WebEncoding::Text).then(TextEncoder::default),
        }
    }

    /// Ends the body with the frame of its trailers.
    fn end(&mut self, mut fields: HeaderMap) -> Bytes {
        trailers::strip(&mut fields);
        self.body = Body::empty();
        let frame = trailers_frame(&fields);
        match self.encoder.take() {
            None => frame.into(),
            Some(mut encoder) => {
                let mut text = Vec::new();
                // Messages that end within a frame.
                encoder.finish(&mut text);
                text.extend_from_slice(BASE64.encode(&frame).as_bytes());
                text.into()
            }
        }
    }
}

/// One frame with a line for each field, as in Envoy.
fn trailers_frame(fields: &HeaderMap) -> Vec<u8> {
    let mut frame = vec![TRAILERS, 0, 0, 0, 0];
    for (name, value) in fields {
        frame.extend_from_slice(name.as_str().as_bytes());
        frame.push(b':');
        frame.extend_from_slice(value.as_bytes());
        frame.extend_from_slice(b"\r\n");
    }
    // A block of fields is limited to far less by HTTP/2.
    let length = u32::try_from(frame.len() - 5).unwrap_or(u32::MAX);
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame
}

impl http_body::Body for WebResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let mut text = Vec::new();
                    if let Some(mut encoder) = self.encoder.take() {
                        encoder.finish(&mut text);
                    }
                    let rest = (!text.is_empty()).then(|| Ok(Frame::data(text.into())));
                    return Poll::Ready(rest);
                }
            };
            let bytes = match frame.into_data() {
                Ok(bytes) => bytes,
                Err(frame) => {
                    let fields = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(Some(Ok(Frame::data(self.end(fields)))));
                }
            };
            let Some(encoder) = &mut self.encoder else {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            };
            let mut text = Vec::new();
            encoder.encode(&bytes, &mut text);
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let encoder = self.encoder.as_ref();
        self.body.is_end_stream() && encoder.is_none_or(TextEncoder::is_complete)
    }
}
