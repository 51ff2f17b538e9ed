//! Local replies: responses that the gateway itself generates.
//!
//! Examples of a [`LocalReply`] are the 400 of the sanitizer, the 403 of a policy, a redirect, and the 503
//! after a failure of a backend, which is converted from an [`Error`](crate::Error).
//! [`LocalReply::into_response`] is the only conversion to a response. Therefore a gRPC client always
//! receives `grpc-status`, and the access log always contains the flag and the details.
//!
//! ```
//! use http::{Response, StatusCode};
//! use towergate_core::LocalReply;
//!
//! let reply = LocalReply::new(StatusCode::FORBIDDEN, "ip_not_allowed").with_body("not allowed");
//!
//! let response: Response<bytes::Bytes> = reply.clone().into_response(false);
//! assert_eq!(response.status(), 403);
//! assert_eq!(response.body(), "not allowed");
//!
//! let to_grpc: Response<bytes::Bytes> = reply.into_response(true);
//! assert_eq!(to_grpc.status(), 200);
//! assert_eq!(to_grpc.headers()["grpc-status"], "7");
//! assert_eq!(to_grpc.headers()["grpc-message"], "not allowed");
//! ```

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::http::grpc;

/// Header fields, in order.
pub type HeaderList = Vec<(HeaderName, HeaderValue)>;

/// A response that the gateway itself generates, with its flag and details for the access log.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct LocalReply {
    /// Status.
    pub status: StatusCode,
    /// Body. A gRPC client receives it as `grpc-message`.
    pub body: Bytes,
    /// Header fields, except `content-length`. If there is a body, the default of `content-type` is
    /// `text/plain`.
    pub headers: HeaderList,
    /// Response flags for the access log, as in Envoy. Default: none.
    pub flag: &'static str,
    /// Response code details for the access log, as in Envoy.
    pub details: Cow<'static, str>,
    /// `grpc-status` for gRPC clients. Default: the code that gRPC assigns to the HTTP status.
    pub grpc_status: Option<u16>,
}

impl LocalReply {
    /// Creates a reply without a body.
    pub fn new(status: StatusCode, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            body: Bytes::new(),
            headers: HeaderList::new(),
            flag: "",
            details: details.into(),
            grpc_status: None,
        }
    }

    /// 403 without a body.
    pub fn forbidden(details: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, details)
    }

    /// The reply that Envoy's codec sends for a malformed request. Its body is the reason phrase, its flag is
    /// `DPE`, and it has `connection: close`.
    pub fn codec_error(status: StatusCode, reason: &'static str, details: &'static str) -> Self {
        Self::new(status, details)
            .with_body(reason)
            .with_flag("DPE")
            .closing()
    }

    /// The reply with status 400 that Envoy's codec sends for a malformed request.
    pub fn malformed(details: &'static str) -> Self {
        Self::codec_error(StatusCode::BAD_REQUEST, "Bad Request", details)
    }

    /// Creates a redirect to `location`.
    pub fn redirect(status: StatusCode, location: HeaderValue, details: &'static str) -> Self {
        Self::new(status, details).with_header(LOCATION, location)
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header field.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds header fields.
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        let mut last = None;
        for (name, value) in headers {
            last = name.or(last);
            self.headers.extend(last.clone().map(|name| (name, value)));
        }
        self
    }

    /// Edits the header fields.
    #[cfg(feature = "gateway")]
    pub(crate) fn edit_headers(self, edit: impl FnOnce(&mut HeaderMap)) -> Self {
        let mut headers: HeaderMap = self.headers.into_iter().collect();
        edit(&mut headers);
        let reply = Self {
            headers: HeaderList::new(),
            ..self
        };
        reply.with_headers(headers)
    }

    /// Sets Envoy's response flags.
    pub fn with_flag(mut self, flag: &'static str) -> Self {
        self.flag = flag;
        self
    }

    /// Makes an HTTP/1 connection close after the reply.
    pub fn closing(self) -> Self {
        self.with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// Makes the connection stay open after the reply. This is the opposite of [`closing`](Self::closing).
    pub fn keep_open(mut self) -> Self {
        self.headers.retain(|(name, _)| name != CONNECTION);
        self
    }

    /// First value of a header field.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Converts the reply to the response to a request with the header fields `request`.
    pub fn into_response_to<B: From<Bytes>>(self, request: &HeaderMap) -> Response<B> {
        self.into_response(grpc::is_grpc(request))
    }

    /// Converts the reply to a response. A gRPC client receives the status 200, `grpc-status`, and the text
    /// of the body as `grpc-message`, but no body ("Trailers-Only" in the specification gRPC over HTTP/2).
    pub fn into_response<B: From<Bytes>>(self, grpc: bool) -> Response<B> {
        let body = if grpc {
            Bytes::new()
        } else {
            self.body.clone()
        };
        let length = body.len();
        let mut response = Response::new(B::from(body));
        let headers = response.headers_mut();
        if grpc {
            let status = self
                .grpc_status
                .unwrap_or_else(|| grpc::status_of(self.status));
            *headers = grpc::trailers_only(status, &self.body);
        } else if length > 0 {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        for (name, value) in self.headers {
            match name {
                CONTENT_TYPE if grpc => {}
                CONTENT_TYPE => {
                    headers.insert(name, value);
                }
                name => {
                    headers.append(name, value);
                }
            }
        }
        if !grpc {
            *response.status_mut() = self.status;
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_without_a_body_has_no_content_type() {
        let response: Response<Bytes> = crate::Error::NoRoute.reply().into_response(false);

        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.headers().is_empty());
    }

    #[test]
    fn a_reply_to_a_malformed_request_closes_the_connection() {
        let response: Response<Bytes> =
            LocalReply::malformed("http1.codec_error").into_response(false);

        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(response.headers()[CONTENT_LENGTH], "11");
        assert_eq!(response.headers()[CONNECTION], "close");
        assert_eq!(response.body(), "Bad Request");
    }

    #[test]
    fn a_redirect_keeps_the_connection_open() {
        let (status, to) = (
            StatusCode::TEMPORARY_REDIRECT,
            HeaderValue::from_static("/a"),
        );

        let response: Response<Bytes> = LocalReply::redirect(status, to, "x").into_response(false);

        assert_eq!(response.status(), 307);
        assert_eq!(response.headers()[LOCATION], "/a");
        assert_eq!(response.headers().len(), 1);
    }

    #[test]
    fn a_grpc_client_receives_the_status_and_the_text_in_headers() {
        let reply = LocalReply::new(StatusCode::TOO_MANY_REQUESTS, "limited")
            .with_body("no more")
            .with_header(HeaderName::from_static("x-left"), 0.into());
        let grpc = HeaderMap::from_iter([(CONTENT_TYPE, "application/grpc".parse().unwrap())]);

        let to_grpc: Response<Bytes> = reply.clone().into_response_to(&grpc);
        let to_others: Response<Bytes> = reply.into_response_to(&HeaderMap::new());

        assert_eq!((to_grpc.status().as_u16(), to_grpc.body().len()), (200, 0));
        assert_eq!(to_grpc.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(to_grpc.headers()["grpc-status"], "14");
        assert_eq!(to_grpc.headers()["grpc-message"], "no more");
        assert_eq!(to_grpc.headers()["x-left"], "0");
        assert_eq!(
            (to_others.status().as_u16(), &to_others.body()[..]),
            (429, &b"no more"[..])
        );
    }

    #[test]
    fn a_reply_may_set_its_own_content_type_and_grpc_status() {
        let json = HeaderValue::from_static("application/json");
        let reply = LocalReply {
            grpc_status: Some(8),
            ..LocalReply::forbidden("x")
        };
        let reply = reply.with_body("{}").with_header(CONTENT_TYPE, json);

        let plain: Response<Bytes> = reply.clone().into_response(false);
        let grpc: Response<Bytes> = reply.into_response(true);

        assert_eq!(plain.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(grpc.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(grpc.headers()["grpc-status"], "8");
    }
}
