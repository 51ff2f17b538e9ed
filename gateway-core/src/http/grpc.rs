//! gRPC, as far as an intermediary answers in place of a service.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is gRPC, so that answers of our own must be, too.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The header fields of an answer that stands for this status and text: its own status is 200, and it
/// has no body (gRPC over HTTP/2, "trailers-only").
pub(crate) fn refusal(status: StatusCode, text: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(status)));
    if !text.is_empty() {
        headers.insert(GRPC_MESSAGE, grpc_message(text));
    }
    headers
}

/// gRPC's mapping of HTTP statuses (gRPC: HTTP to gRPC Status Code Mapping). 429 is unavailable, as in
/// Envoy.
fn grpc_status(status: StatusCode) -> u16 {
    match status {
        StatusCode::BAD_REQUEST => 13,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 12,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => 14,
        _ => 2,
    }
}

/// Percent-encodes what may not stand in `grpc-message` (gRPC over HTTP/2, "Percent-Encoded").
fn grpc_message(text: &str) -> HeaderValue {
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    let encoded = percent_encoding::utf8_percent_encode(text, PLAIN).to_string();
    HeaderValue::try_from(encoded).expect("percent-encoded text is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_grpc_media_types_are_grpc() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            assert_eq!(is_grpc(&headers), expected, "{text}");
        }
    }

    #[test]
    fn a_text_is_encoded_where_it_must_be() {
        let headers = refusal(StatusCode::FORBIDDEN, "100 %, é\n");

        assert_eq!(headers["grpc-status"], "7");
        assert_eq!(headers["grpc-message"], "100 %25, %C3%A9%0A");
    }
}
