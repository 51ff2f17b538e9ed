//! Entry points for fuzz targets. Not part of the public API.

use super::request_framer::RequestFramer;

/// Result of the framer for the bytes of a client.
#[derive(Debug, Eq, PartialEq)]
pub struct FramedRequests {
    /// The bytes that the codec parses.
    pub bytes: Vec<u8>,
    /// Index of the request whose invalid head the codec would accept, and the defect. `None`: no defect.
    pub lenient: Option<String>,
    /// Whether a chunk is malformed.
    pub malformed: bool,
}

/// Frames `bytes`, which arrive in parts of `part` bytes. No upgrade is accepted.
pub fn frame_requests(bytes: &[u8], part: usize) -> FramedRequests {
    let mut framer = RequestFramer::new(0);
    let mut result = FramedRequests {
        bytes: Vec::new(),
        lenient: None,
        malformed: false,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let (received, left) = rest.split_at(part.clamp(1, rest.len()));
        let framed = framer.scan(received);
        rest = left;
        if framer.is_switching() {
            framer.settle_upgrade(false);
            rest = &bytes[bytes.len() - left.len() - (received.len() - framed.valid)..];
        }
        let parsed = framed.replacement.as_deref();
        let parsed = parsed.unwrap_or(&received[..framed.valid]);
        result.bytes.extend_from_slice(parsed);
        let lenient = framed.lenient.map(|lenient| format!("{lenient:?}"));
        result.lenient = result.lenient.or(lenient);
        if framer.is_malformed() {
            result.malformed = true;
            break;
        }
    }
    result
}
