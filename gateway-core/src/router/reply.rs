//! Answers of the gateway itself: the one place where an [`Answer`] becomes a response.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::Body;
use crate::error::Answer;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The response for `answer`. A gRPC client gets 200 with the status in `grpc-status` and the text in
/// `grpc-message`, without a body (gRPC over HTTP/2, "trailers-only").
pub(crate) fn reply(answer: &Answer, grpc: bool) -> Response<Body> {
    if grpc {
        return grpc_reply(answer);
    }
    let mut response = Response::new(match &answer.body {
        Cow::Borrowed(text) => Body::from(*text),
        Cow::Owned(text) => Body::from(text.clone()),
    });
    *response.status_mut() = answer.status;
    if !answer.body.is_empty() {
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

fn grpc_reply(answer: &Answer) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(answer.status)));
    if !answer.body.is_empty() {
        headers.insert(GRPC_MESSAGE, grpc_message(&answer.body));
    }
    response
}

/// Whether a request is gRPC, so that the gateway's own answers must be, too.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    match value.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || rest[0] == b'+' || rest[0] == b';',
        None => false,
    }
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

    fn not_found() -> Answer {
        crate::Error::NoRoute.answer()
    }

    #[test]
    fn an_answer_without_text_has_no_content_type() {
        let response = reply(&not_found(), false);

        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.headers().is_empty());
    }

    #[test]
    fn a_grpc_client_gets_the_status_in_a_header() {
        let response = reply(&crate::Error::Timeout.answer(), true);

        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(
            response.headers()["grpc-message"],
            "upstream request timeout"
        );
        assert_eq!(response.headers()["content-type"], "application/grpc");
    }

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
}
