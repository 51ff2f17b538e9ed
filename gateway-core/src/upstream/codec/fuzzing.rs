//! Decoding of a response without a connection, for fuzzing and property tests.

use bytes::BytesMut;
use http::{HeaderMap, response};

use super::{Malformed, Receiving, head};

/// A decoded response.
#[doc(hidden)]
#[derive(Debug)]
pub struct DecodedResponse {
    /// The head, as forwarded to the client.
    pub head: response::Parts,
    /// The whole body.
    pub body: Vec<u8>,
    /// The trailers of a chunked body.
    pub trailers: Option<HeaderMap>,
    /// Bytes after the response.
    pub unread: Vec<u8>,
}

/// Decodes the response to a request that arrives in `segments`, after which the backend closes the
/// connection. `to_head`: the method of the request was HEAD. Returns `None` if the response is malformed or
/// incomplete.
#[doc(hidden)]
pub fn decode_response(to_head: bool, segments: &[&[u8]]) -> Option<DecodedResponse> {
    let mut read = BytesMut::new();
    let mut response: Option<(DecodedResponse, Receiving)> = None;
    for segment in segments {
        read.extend_from_slice(segment);
        if response.is_none() {
            response = decode_head(&mut read, to_head).ok()?;
        }
        if let Some((response, receiving)) = &mut response {
            decode_body(&mut read, receiving, response).ok()?;
        }
    }
    let (mut response, receiving) = response?;
    response.unread = read.to_vec();
    matches!(receiving, Receiving::Ended | Receiving::Close).then_some(response)
}

/// Decodes the head of the final response, if it is complete.
fn decode_head(
    read: &mut BytesMut,
    to_head: bool,
) -> Result<Option<(DecodedResponse, Receiving)>, Malformed> {
    while let Some(mut head) = head::decode(read, to_head, &mut HeaderMap::new())? {
        if head.is_interim() {
            continue;
        }
        head.clean()?;
        let receiving = Receiving::new(head.framing);
        let response = DecodedResponse {
            head: head.parts,
            body: Vec::new(),
            trailers: None,
            unread: Vec::new(),
        };
        return Ok(Some((response, receiving)));
    }
    Ok(None)
}

fn decode_body(
    read: &mut BytesMut,
    receiving: &mut Receiving,
    response: &mut DecodedResponse,
) -> Result<(), Malformed> {
    while let Some(frame) = receiving.decode(read)? {
        match frame.into_data() {
            Ok(data) => response.body.extend_from_slice(&data),
            Err(frame) => response.trailers = frame.into_trailers().ok(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn summary(response: &DecodedResponse) -> String {
        let (head, body) = (&response.head, &response.body);
        let (trailers, unread) = (&response.trailers, &response.unread);
        let (status, headers) = (head.status, &head.headers);
        format!("{status} {headers:?} {body:?} {trailers:?} {unread:?}")
    }

    /// Fragments of responses. A sequence of them is a valid, malformed or incomplete response.
    fn part() -> impl Strategy<Value = &'static str> {
        select(vec![
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n",
            "x-sum: 1\r\n",
            "\r\n",
            "hello",
            "5\r\nhello\r\n",
            "a;name=value\r\n0123456789\r\n",
            "0\r\n",
            "\n",
        ])
    }

    proptest! {
        /// The reference is the result of decoding all bytes in one segment.
        #[test]
        fn segmentation_does_not_change_a_response(
            parts in proptest::collection::vec(part(), 1..12),
            cuts in proptest::collection::vec(0usize..200, 0..6),
            to_head in any::<bool>(),
        ) {
            let bytes = parts.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.min(&bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let segments: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();

            let segmented = decode_response(to_head, &segments);

            let expected = decode_response(to_head, &[&bytes]);
            let expected = expected.as_ref().map(summary);
            prop_assert_eq!(segmented.as_ref().map(summary), expected);
        }
    }

    #[test]
    fn a_chunked_response_is_decoded_with_its_trailers() {
        let response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\nnext";

        let decoded = decode_response(false, &[response]).unwrap();

        assert_eq!(decoded.body, b"hello");
        assert_eq!(decoded.trailers.unwrap()["x-sum"], "1");
        assert_eq!(decoded.unread, b"next");
    }
}
