//! Response bodies of gRPC backends, translated for gRPC-Web clients.

use bytes::Bytes;
use data_encoding::BASE64;
use http::HeaderMap;
use http_body::Frame;

use super::transcoded_body::Transcoder;
use super::{TextEncoder, WebEncoding};
use crate::LocalReply;
use crate::http::trailers;

/// Flags of the frame that contains the trailers.
const TRAILERS: u8 = 0x80;

/// Encodes the messages, and the trailers as the last frame.
pub(super) struct WebEncoder {
    /// `None`: binary.
    text: Option<TextEncoder>,
}

impl WebEncoder {
    pub(super) fn new(encoding: WebEncoding) -> Self {
        Self {
            text: (encoding == WebEncoding::Text).then(TextEncoder::default),
        }
    }
}

impl Transcoder for WebEncoder {
    fn data(&mut self, bytes: Bytes) -> Result<Option<Bytes>, LocalReply> {
        let Some(encoder) = &mut self.text else {
            return Ok(Some(bytes));
        };
        let mut text = Vec::new();
        encoder.encode(&bytes, &mut text);
        Ok((!text.is_empty()).then(|| text.into()))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Option<Frame<Bytes>>, LocalReply> {
        let frame = trailers.map(|mut fields| {
            trailers::strip(&mut fields);
            trailers_frame(&fields)
        });
        let Some(mut encoder) = self.text.take() else {
            return Ok(frame.map(|frame| Frame::data(frame.into())));
        };
        let mut text = Vec::new();
        // The body may end within a frame. This call writes the base64 of its last bytes.
        encoder.finish(&mut text);
        if let Some(frame) = frame {
            text.extend_from_slice(BASE64.encode(&frame).as_bytes());
        }
        Ok((!text.is_empty()).then(|| Frame::data(text.into())))
    }

    fn is_complete(&self) -> bool {
        self.text.as_ref().is_none_or(TextEncoder::is_complete)
    }
}

/// A frame with one line for each field, as in Envoy.
fn trailers_frame(fields: &HeaderMap) -> Vec<u8> {
    let mut frame = vec![TRAILERS, 0, 0, 0, 0];
    for (name, value) in fields {
        frame.extend_from_slice(name.as_str().as_bytes());
        frame.push(b':');
        frame.extend_from_slice(value.as_bytes());
        frame.extend_from_slice(b"\r\n");
    }
    // The value fits, because HTTP/2 limits a block of fields to far less than 4 GiB.
    let length = u32::try_from(frame.len() - 5).unwrap_or(u32::MAX);
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame
}
