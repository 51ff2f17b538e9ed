//! Decoding the response of a backend yields the same value for any segmentation. The body has the length
//! that the head states.

use http::header::CONTENT_LENGTH;
use towergate_core::upstream::fuzzing::{DecodedResponse, decode_response};

/// Input: flags (bit 0: the request was HEAD; bit 1: one byte per segment), the offset of a split as two
/// bytes, then the bytes that the backend sends.
pub fn check(input: &[u8]) {
    let Some((&[flags, high, low], bytes)) = input.split_first_chunk() else {
        return;
    };
    let to_head = flags & 1 == 1;
    let split = usize::from(u16::from_be_bytes([high, low])).min(bytes.len());
    let (first, second) = bytes.split_at(split);

    let whole = decode_response(to_head, &[bytes]);
    let segmented = if flags & 2 == 0 {
        decode_response(to_head, &[first, second])
    } else {
        decode_response(to_head, &bytes.chunks(1).collect::<Vec<_>>())
    };

    assert_eq!(whole.as_ref().map(summary), segmented.as_ref().map(summary));
    if let Some(response) = &whole
        && let Some(length) = response.head.headers.get(CONTENT_LENGTH)
        && !response.body.is_empty()
    {
        assert_eq!(
            length.as_bytes(),
            response.body.len().to_string().as_bytes()
        );
        assert!(!to_head);
    }
}

/// The response as text, for comparison.
fn summary(response: &DecodedResponse) -> String {
    let DecodedResponse {
        head,
        body,
        trailers,
        unread,
    } = response;
    let (status, headers) = (head.status, &head.headers);
    format!("{status} {headers:?} {body:?} {trailers:?} {unread:?}")
}
