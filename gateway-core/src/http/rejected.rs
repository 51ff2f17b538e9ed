//! A request that goes no further than its head: what the client is told in place of an answer.
//!
//! The texts are those of Envoy. It has two kinds of refusals, and so have we: those of its codec have
//! the reason phrase as body and the response flag `DPE`, those behind it have an empty body.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use crate::error::Answer;

/// The answer to a request that is refused, or sent to the normal spelling of its path.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Rejected {
    /// The status.
    pub status: StatusCode,
    /// The text of the body.
    pub body: &'static str,
    /// Envoy's response flag.
    pub flag: &'static str,
    /// Envoy's response code details.
    pub details: &'static str,
    /// Where the client is sent; only with status 307.
    pub location: Option<HeaderValue>,
    /// An HTTP/1 connection must end with this answer.
    pub close: bool,
}

impl Rejected {
    /// Refused as malformed, as Envoy's codec does: the connection ends.
    pub const fn codec(status: StatusCode, body: &'static str, details: &'static str) -> Self {
        Self {
            status,
            body,
            flag: "DPE",
            details,
            location: None,
            close: true,
        }
    }

    /// Refused with 400 as malformed.
    pub const fn malformed(details: &'static str) -> Self {
        Self::codec(StatusCode::BAD_REQUEST, "Bad Request", details)
    }

    /// Well-formed and yet refused, with an empty body: the connection ends.
    pub const fn refused(status: StatusCode, details: &'static str) -> Self {
        Self {
            status,
            body: "",
            flag: "",
            details,
            location: None,
            close: true,
        }
    }

    /// Sent to the normal spelling of its path.
    pub const fn redirect(location: HeaderValue) -> Self {
        Self {
            status: StatusCode::TEMPORARY_REDIRECT,
            body: "",
            flag: "",
            details: "path_normalization_failed",
            location: Some(location),
            close: false,
        }
    }

    /// The same, but the connection goes on.
    pub const fn keep_open(mut self) -> Self {
        self.close = false;
        self
    }

    /// What the access log is told.
    pub fn answer(&self) -> Answer {
        Answer {
            status: self.status,
            body: self.body.into(),
            flag: self.flag,
            details: self.details.into(),
        }
    }

    /// The answer as a response; with `Connection: close` if the connection must end.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(Bytes::from_static(self.body.as_bytes())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_request_is_told_so_and_the_connection_ends() {
        let response: Response<Bytes> = Rejected::malformed("http1.codec_error").into_response();

        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(response.headers()[CONNECTION], "close");
        assert_eq!(response.body(), "Bad Request");
    }

    #[test]
    fn a_redirect_keeps_the_connection() {
        let to = HeaderValue::from_static("/a/b");

        let response: Response<Bytes> = Rejected::redirect(to).into_response();

        assert_eq!(response.status(), 307);
        assert_eq!(response.headers()[LOCATION], "/a/b");
        assert_eq!(response.headers().len(), 1);
    }
}
