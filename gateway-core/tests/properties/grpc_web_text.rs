//! Decoding the base64 of a gRPC-Web body in pieces of any size yields the same bytes as decoding it at once.

use data_encoding::BASE64;
use towergate_core::grpc_web::{TextDecoder, TextEncoder};

/// Input: size of the pieces, then the body. The body is interpreted both as a request in base64 and as a
/// response that consists of frames.
pub fn check(bytes: &[u8]) {
    let Some((size, body)) = bytes.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    let (mut decoder, mut decoded) = (TextDecoder::default(), Vec::new());
    let valid = body
        .chunks(size)
        .all(|piece| decoder.decode(piece, &mut decoded).is_ok());
    let expected = BASE64.decode(body).ok();
    assert_eq!(
        (valid && decoder.is_complete()).then_some(decoded),
        expected
    );

    let (mut encoder, mut text) = (TextEncoder::default(), Vec::new());
    for piece in body.chunks(size) {
        encoder.encode(piece, &mut text);
    }
    encoder.finish(&mut text);
    assert_eq!(BASE64.decode(&text).as_deref(), Ok(body));
}
