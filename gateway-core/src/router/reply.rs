//! Answers of the gateway itself: the one place where an [`Answer`] becomes a response.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response};

use crate::Body;
use crate::error::Answer;
use crate::http::grpc;
pub(crate) use crate::http::grpc::is_grpc;

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
    *response.headers_mut() = grpc::refusal(answer.status, &answer.body);
    response
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

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
}
