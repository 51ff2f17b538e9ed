//! Base64 of `application/grpc-web-text`, processed in pieces.
//!
//! A body is a sequence of base64 strings. Each has its own padding, because clients and servers may encode
//! each frame separately. Neither decoding nor encoding has to buffer a whole frame.

use data_encoding::BASE64;

/// Length of the head of a frame, in bytes. The head consists of the flags and the length of the message.
const FRAME_HEAD: usize = 5;

/// Error: the text is not valid base64, or ends within a group of four characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid base64 in a gRPC-Web body")]
pub struct InvalidBase64;

/// Decodes the base64 of a request. The text may be split into pieces of any size.
#[derive(Clone, Debug, Default)]
pub struct TextDecoder {
    /// The characters of an incomplete group of four characters.
    started: [u8; 4],
    length: usize,
}

impl TextDecoder {
    /// Appends the bytes of `text` to `out`.
    ///
    /// # Errors
    /// Fails if a group of four characters is not valid base64.
    pub fn decode(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
        if self.length > 0 {
            let missing = (4 - self.length).min(text.len());
            let (now, rest) = text.split_at(missing);
            self.started[self.length..][..missing].copy_from_slice(now);
            self.length += missing;
            text = rest;
            if self.length < 4 {
                return Ok(());
            }
            let group = self.started;
            decode_groups(&group, out)?;
            self.length = 0;
        }
        let (groups, rest) = text.split_at(text.len() / 4 * 4);
        decode_groups(groups, out)?;
        self.started[..rest.len()].copy_from_slice(rest);
        self.length = rest.len();
        Ok(())
    }

    /// Whether the text that has been decoded ends with a complete group of four characters.
    pub fn is_complete(&self) -> bool {
        self.length == 0
    }
}

/// Appends the bytes of complete groups of four characters. Any group may be padded.
fn decode_groups(groups: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidBase64> {
    let start = out.len();
    let most = BASE64.decode_len(groups.len()).map_err(|_| InvalidBase64)?;
    out.resize(start + most, 0);
    let length = BASE64.decode_mut(groups, &mut out[start..]);
    out.truncate(start + length.map_err(|_| InvalidBase64)?);
    Ok(())
}

/// Encodes the frames of a response. The bytes may be split into pieces of any size. The text is padded at
/// the end of each frame, so that a client can decode it frame by frame.
#[derive(Clone, Debug, Default)]
pub struct TextEncoder {
    /// The bytes of an incomplete group of three bytes.
    started: [u8; 3],
    length: usize,
    /// The bytes of an incomplete head of a frame.
    head: [u8; FRAME_HEAD],
    head_length: usize,
    /// Number of bytes of the current message that have not arrived yet.
    left: usize,
}

impl TextEncoder {
    /// Appends to `out` the part of the base64 of `bytes` that does not depend on later bytes.
    pub fn encode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let in_head = self.head_length < FRAME_HEAD;
            let wanted = match in_head {
                true => FRAME_HEAD - self.head_length,
                false => self.left,
            };
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.push(now, out);
            bytes = rest;
            if in_head {
                self.head[self.head_length..][..now.len()].copy_from_slice(now);
                self.head_length += now.len();
                if self.head_length < FRAME_HEAD {
                    return;
                }
                let [_, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length) as usize;
            } else {
                self.left -= now.len();
            }
            if self.left == 0 {
                self.finish(out);
                self.head_length = 0;
            }
        }
    }

    /// Appends the base64 of the remaining bytes, with padding.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let length = std::mem::take(&mut self.length);
        let started = self.started;
        encode_into(&started[..length], out);
    }

    /// Whether all bytes have been encoded.
    pub fn is_complete(&self) -> bool {
        self.length == 0
    }

    /// Adds `bytes` and appends the base64 of complete groups of three bytes. An incomplete group is stored.
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if self.length > 0 {
            let missing = (3 - self.length).min(bytes.len());
            let (now, rest) = bytes.split_at(missing);
            self.started[self.length..][..missing].copy_from_slice(now);
            self.length += missing;
            bytes = rest;
            if self.length < 3 {
                return;
            }
            self.length = 0;
            let group = self.started;
            encode_into(&group, out);
        }
        let (groups, rest) = bytes.split_at(bytes.len() / 3 * 3);
        encode_into(groups, out);
        self.started[..rest.len()].copy_from_slice(rest);
        self.length = rest.len();
    }
}

fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BASE64.encode_len(bytes.len()), 0);
    BASE64.encode_mut(bytes, &mut out[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `text` in pieces of `size` characters.
    fn decode(text: &[u8], size: usize) -> Result<Vec<u8>, InvalidBase64> {
        let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
        for piece in text.chunks(size) {
            decoder.decode(piece, &mut out)?;
        }
        decoder.is_complete().then_some(out).ok_or(InvalidBase64)
    }

    fn frame(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[0], &length.to_be_bytes()[..], message].concat()
    }

    proptest! {
        #[test]
        fn concatenated_texts_decode_in_pieces_of_any_size(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..5),
            size in 1..9usize,
        ) {
            let text: String = parts.iter().map(|part| BASE64.encode(part)).collect();

            prop_assert_eq!(decode(text.as_bytes(), size), Ok(parts.concat()));
        }

        #[test]
        fn the_size_of_pieces_does_not_decide_on_validity(
            text in "[A-C=!]{0,12}",
            size in 1..9usize,
        ) {
            prop_assert_eq!(decode(text.as_bytes(), size), decode(text.as_bytes(), 100));
        }

        #[test]
        fn each_frame_is_a_text_of_its_own(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..5),
            size in 1..9usize,
        ) {
            let frames: Vec<_> = messages.iter().map(|message| frame(message)).collect();
            let (mut encoder, mut out) = (TextEncoder::default(), Vec::new());

            for piece in frames.concat().chunks(size) {
                encoder.encode(piece, &mut out);
            }

            let expected: String = frames.iter().map(|frame| BASE64.encode(frame)).collect();
            prop_assert!(encoder.is_complete());
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_text_that_is_not_base64_is_an_error() {
        for text in ["!!!!", "AAA", "A===", "AA=A", "AB==", "AAA\n"] {
            assert_eq!(decode(text.as_bytes(), 100), Err(InvalidBase64), "{text:?}");
        }
    }
}
