//! gRPC form of a local reply.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether `Content-Type` marks the request as gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Header fields of a gRPC response without a body ("Trailers-Only" in the specification gRPC over HTTP/2).
pub(crate) fn trailers_only(status: u16, message: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(status));
    if !message.is_empty() {
        headers.insert(GRPC_MESSAGE, grpc_message(message));
    }
    headers
}

/// The gRPC status that corresponds to an HTTP status ("HTTP to gRPC Status Code Mapping" of gRPC). As in
/// Envoy, 429 maps to `UNAVAILABLE`.
pub(crate) fn status_of(status: StatusCode) -> u16 {
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

/// Percent-encodes a message ("Percent-Encoded" in the specification gRPC over HTTP/2).
pub(crate) fn grpc_message(text: &[u8]) -> HeaderValue {
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    let encoded = percent_encoding::percent_encode(text, PLAIN).to_string();
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
    fn a_message_is_percent_encoded_where_it_must_be() {
        let headers = trailers_only(
            status_of(StatusCode::FORBIDDEN),
            "100 %, \u{e9}\n".as_bytes(),
        );

        assert_eq!(headers["grpc-status"], "7");
        assert_eq!(headers["grpc-message"], "100 %25, %C3%A9%0A");
    }
}
