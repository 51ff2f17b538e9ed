//! Chunked transfer coding (RFC 9112, section 7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

use super::Malformed;
use super::head::{Fields, MAX_LINES};

/// Maximum size in bytes of a chunk-size line, including extensions.
const MAX_SIZE_LINE: usize = 4 * 1024;
/// Maximum size in bytes of the trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// Size in bytes below which a chunk is joined with the following chunks, because every frame costs a write.
const SMALL: usize = 1024;
/// Maximum size in bytes of a frame to which another chunk is joined.
const JOINED: usize = 16 * 1024;

/// Decoder of chunks.
#[derive(Debug, Default)]
pub(super) struct Decoder(State);

#[derive(Debug, Default)]
enum State {
    /// Before a chunk-size line.
    #[default]
    Size,
    /// Remaining bytes of the chunk.
    Data(u64),
    /// Before the line end after a chunk.
    DataEnd,
    /// After the last chunk.
    Trailers,
    /// At the end of the body.
    End,
}

/// Result of one decoding step.
#[derive(Debug)]
pub(super) enum DecodedChunk {
    /// Data or trailers.
    Frame(Frame<Bytes>),
    /// More bytes are needed.
    More,
    /// The body has ended.
    End,
}

impl Decoder {
    /// Decodes the next frame from the start of `bytes`. Small chunks that arrived together are joined into
    /// one frame.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not chunks, or a line is too long.
    pub(super) fn decode(&mut self, bytes: &mut BytesMut) -> Result<DecodedChunk, Malformed> {
        loop {
            match self.step(bytes)? {
                None => {}
                Some(DecodedChunk::Frame(frame)) => {
                    return Ok(DecodedChunk::Frame(self.join_chunks(frame, bytes)));
                }
                Some(end) => return Ok(end),
            }
        }
    }

    /// Appends the data of the following chunks to a small chunk. A malformed chunk ends the frame; the next
    /// call returns the error.
    fn join_chunks(&mut self, frame: Frame<Bytes>, bytes: &mut BytesMut) -> Frame<Bytes> {
        let data = match frame.data_ref() {
            Some(data) if data.len() < SMALL && bytes.len() > END_OF_CHUNK.len() => data,
            _ => return frame,
        };
        let mut joined = BytesMut::with_capacity(JOINED.min(data.len() + bytes.len()));
        joined.extend_from_slice(data);
        while joined.len() < JOINED && !matches!(self.0, State::Trailers | State::End) {
            match self.step(bytes) {
                Ok(None) => {}
                Ok(Some(DecodedChunk::Frame(frame))) => {
                    joined.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                }
                Ok(Some(DecodedChunk::More | DecodedChunk::End)) | Err(Malformed) => break,
            }
        }
        Frame::data(joined.freeze())
    }

    /// Decodes one element: a line, data or the trailers. Returns `None` if the element yields no frame; the
    /// caller must then call again.
    fn step(&mut self, bytes: &mut BytesMut) -> Result<Option<DecodedChunk>, Malformed> {
        match self.0 {
            // The line must begin with a digit, because httparse would accept an empty line as size 0.
            State::Size if bytes.first().is_some_and(|b| !b.is_ascii_hexdigit()) => Err(Malformed),
            State::Size => match httparse::parse_chunk_size(bytes) {
                Ok(httparse::Status::Complete((len, size)))
                    if len <= MAX_SIZE_LINE && is_text(&bytes[..len - 2]) =>
                {
                    bytes.advance(len);
                    self.0 = if size == 0 {
                        State::Trailers
                    } else {
                        State::Data(size)
                    };
                    Ok(None)
                }
                Ok(httparse::Status::Partial) if bytes.len() <= MAX_SIZE_LINE => {
                    Ok(Some(DecodedChunk::More))
                }
                _ => Err(Malformed),
            },
            State::Data(_) if bytes.is_empty() => Ok(Some(DecodedChunk::More)),
            State::Data(left) => {
                let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.0 = match left - len as u64 {
                    0 => State::DataEnd,
                    left => State::Data(left),
                };
                let data = bytes.split_to(len).freeze();
                Ok(Some(DecodedChunk::Frame(Frame::data(data))))
            }
            State::DataEnd => {
                if !END_OF_CHUNK.starts_with(&bytes[..bytes.len().min(2)]) {
                    return Err(Malformed);
                }
                if bytes.len() < 2 {
                    return Ok(Some(DecodedChunk::More));
                }
                bytes.advance(2);
                self.0 = State::Size;
                Ok(None)
            }
            State::Trailers => {
                let Some(trailers) = decode_trailers(bytes)? else {
                    return Ok(Some(DecodedChunk::More));
                };
                self.0 = State::End;
                Ok(match trailers.is_empty() {
                    true => None,
                    false => Some(DecodedChunk::Frame(Frame::trailers(trailers))),
                })
            }
            State::End => Ok(Some(DecodedChunk::End)),
        }
    }

    /// Returns whether the body has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.0, State::End)
    }
}

/// Whether a chunk-size line, without its line end, has no control characters. httparse accepts control
/// characters in extensions, but other parsers may interpret them as a line end.
fn is_text(line: &[u8]) -> bool {
    line.iter().all(|b| !b.is_ascii_control() || *b == b'\t')
}

/// Whether every line ends in CRLF. httparse accepts a bare LF. This module rejects it, as the gateway does
/// in trailers from clients.
fn has_crlf_only(lines: &[u8]) -> bool {
    let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.all(|line| line.ends_with(END_OF_CHUNK))
}

fn decode_trailers(bytes: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    match httparse::parse_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete((len, lines)))
            if len <= MAX_TRAILERS && has_crlf_only(&bytes[..len]) =>
        {
            let fields = Fields::find(lines, bytes);
            let mut trailers = HeaderMap::new();
            fields.take(bytes, len, &mut trailers)?;
            Ok(Some(trailers))
        }
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_TRAILERS => Ok(None),
        _ => Err(Malformed),
    }
}

/// Writes the chunk-size line of a chunk of `len` bytes; `len` must not be 0.
pub(super) fn encode_size(len: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{len:x}\r\n").expect("writing to a Vec does not fail");
}

/// Line end after a chunk.
pub(super) const END_OF_CHUNK: &[u8] = b"\r\n";
/// The last chunk; trailers and an empty line follow.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Body, trailers and remaining bytes.
    type Decoded = (Vec<u8>, HeaderMap, Vec<u8>);

    /// Decodes `text`, which arrives in segments of `parts` bytes.
    fn decoded(text: &[u8], parts: usize) -> Result<Option<Decoded>, Malformed> {
        let mut decoder = Decoder::default();
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut bytes = BytesMut::new();
        let mut rest = text.chunks(parts.max(1));
        loop {
            match decoder.decode(&mut bytes)? {
                DecodedChunk::Frame(frame) => match frame.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                },
                DecodedChunk::More => match rest.next() {
                    Some(part) => bytes.extend_from_slice(part),
                    None => return Ok(None),
                },
                DecodedChunk::End => {
                    assert!(decoder.has_ended());
                    let rest = [&bytes[..], &rest.collect::<Vec<_>>().concat()].concat();
                    return Ok(Some((body, trailers, rest)));
                }
            }
        }
    }

    #[test]
    fn chunks_trailers_and_the_following_bytes_are_separated() {
        let text = b"3;ext=\"a\"\r\nabc\r\n0a\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\nHTTP/1.1";

        for parts in 1..text.len() {
            let (body, trailers, rest) = decoded(text, parts).unwrap().unwrap();
            assert_eq!(body, b"abc0123456789");
            assert_eq!(trailers["x-t"], "1");
            assert_eq!(rest, b"HTTP/1.1");
        }
    }

    #[test]
    fn small_chunks_that_arrived_together_are_one_frame() {
        let text = "1\r\na\r\n".repeat(1000) + "0\r\nx-t: 1\r\n\r\n";
        let (mut decoder, mut bytes) = (Decoder::default(), BytesMut::from(text.as_bytes()));

        let mut frames = Vec::new();
        while let DecodedChunk::Frame(frame) = decoder.decode(&mut bytes).unwrap() {
            frames.push(frame);
        }

        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].data_ref().unwrap().len(), 1000);
        assert_eq!(frames[1].trailers_ref().unwrap()["x-t"], "1");
    }

    #[test]
    fn chunks_before_a_malformed_one_are_a_frame() {
        let (mut decoder, mut bytes) = (Decoder::default(), BytesMut::from("1\r\na\r\n2\r\nbcX"));

        let frame = decoder.decode(&mut bytes).unwrap();

        assert!(matches!(frame, DecodedChunk::Frame(frame) if frame.data_ref().unwrap() == "abc"));
        assert!(decoder.decode(&mut bytes).is_err());
    }

    #[test]
    fn invalid_chunks_are_malformed() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(MAX_SIZE_LINE));
        let many = format!("0\r\n{}\r\n", "x: y\r\n".repeat(MAX_LINES + 1));
        for text in [
            "x\r\n",
            "\r\n",
            "-1\r\na\r\n",
            "0x1\r\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "11111111111111111\r\n",
            "000000000000000000001\r\na\r\n0\r\n\r\n",
            "1;x\0y\r\na\r\n0\r\n\r\n",
            "1;x\ny\r\na\r\n0\r\n\r\n",
            "0\r\nna me: x\r\n\r\n",
            "0\r\nx-t: 1\n\r\n",
            "0\r\nx-t: 1\r\n\n",
            "0\r\n\n",
            &long,
            &many,
        ] {
            for parts in [1, 7, text.len()] {
                assert!(
                    decoded(text.as_bytes(), parts).is_err(),
                    "{text:.40} {parts}"
                );
            }
        }
    }

    #[test]
    fn an_incomplete_body_does_not_end() {
        let text = b"3\r\nabc\r\n0\r\n\r\n";
        for end in 0..text.len() {
            assert!(decoded(&text[..end], 4).unwrap().is_none(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn written_chunks_are_read_back(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..9),
            parts in 1usize..64,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                encode_size(chunk.len(), &mut text);
                text.extend_from_slice(chunk);
                text.extend_from_slice(END_OF_CHUNK);
            }
            text.extend_from_slice(LAST_CHUNK);
            text.extend_from_slice(b"\r\n");

            let (body, trailers, rest) = decoded(&text, parts).unwrap().unwrap();

            prop_assert_eq!(body, chunks.concat());
            prop_assert!(trailers.is_empty() && rest.is_empty());
        }

        #[test]
        fn no_input_causes_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), parts in 1usize..9) {
            let _ = decoded(&bytes, parts);
        }
    }
}
