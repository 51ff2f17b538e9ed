//! Direct responses (Envoy Gateway `HTTPRouteFilter.directResponse`).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::HeaderEdits;
use crate::format::Format;
use crate::local_reply::LocalReply;
use crate::text::Text;

/// A fixed response, which is returned instead of a response of a backend.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct DirectResponse {
    /// Status, 200 to 599.
    pub status: u16,
    /// Body. `None`: no body.
    pub body: Option<Text<Format>>,
    /// `Content-Type`. Default: `text/plain` if there is a body, otherwise none.
    pub content_type: Option<Text<HeaderValue>>,
    /// Further header fields.
    pub headers: HeaderEdits,
}

impl DirectResponse {
    /// The response to a request. `text` evaluates a string with command operators; its first argument
    /// contains the header fields of the response that have been set before.
    pub fn reply(&self, text: impl Fn(&HeaderMap, &Format) -> Option<Vec<u8>>) -> LocalReply {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        if let Some(content_type) = &self.content_type {
            headers.insert(CONTENT_TYPE, (**content_type).clone());
        }
        self.headers.apply_with(&mut headers, |headers, format| {
            HeaderValue::from_maybe_shared(Bytes::from(text(headers, format)?)).ok()
        });
        let has_body = status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
        let body = self.body.as_ref().filter(|_| has_body);
        let body = body.and_then(|body| text(&headers, body));
        LocalReply::new(status, "direct_response")
            .with_body(body.map(Bytes::from).unwrap_or_default())
            .with_headers(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::HeaderEdit;
    use crate::format::{FieldText, FormatContext};

    fn reply(status: u16, body: Option<&str>) -> LocalReply {
        let set = |name: &str, value| {
            HeaderEdit::set(name.parse().unwrap(), FieldText::parse(value).unwrap())
        };
        let response = DirectResponse {
            status,
            body: body.map(|text| text.parse().unwrap()),
            content_type: Some("text/html".parse().unwrap()),
            headers: HeaderEdits(vec![set("x-set", "1")]),
        };
        response.reply(|headers, format| {
            format.text(&FormatContext {
                response: Some(headers),
                ..FormatContext::default()
            })
        })
    }

    #[test]
    fn status_body_and_fields_are_those_of_the_filter() {
        let reply = reply(418, Some("tea %RESP(x-set)% 100%%"));

        assert_eq!(reply.status, 418);
        assert_eq!(reply.body, "tea 1 100%");
        assert_eq!(reply.header(&CONTENT_TYPE).unwrap(), "text/html");
        assert_eq!(reply.details, "direct_response");
    }

    #[test]
    fn a_status_without_content_has_no_body() {
        assert!(reply(204, Some("text")).body.is_empty());
        assert!(reply(304, Some("text")).body.is_empty());
        assert!(reply(200, None).body.is_empty());
    }
}
