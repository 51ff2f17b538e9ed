//! External authorization over HTTP: building the check request and interpreting the response.
//!
//! The service receives the method, path and `Host` of the request, `Content-Length`, `Authorization`, and the
//! fields that the policy lists. Status 200 allows the request. A status of 500 or above is a failed call. Any other
//! response is returned to the client.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, HOST, LAST_MODIFIED, SERVER, VARY,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, request};
use serde::{Deserialize, Serialize};
use towergate_core::plan::Text;
use towergate_core::{Body, LocalReply};

use super::body::SentPart;
use super::changes::{is_editable, joined};
use super::{HeaderEdit, RequestChanges, ServiceError, Verdict};

/// Header field: whether the service receives only the beginning of the body.
pub(super) const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// Header field: time for which the caller waits, in milliseconds.
pub(super) const EXPECTED_TIME: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// Header field: the request comes from the gateway itself.
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
/// Header field of the response: names of fields to remove from the client's request, separated by commas.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// A service that is called over HTTP.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct HttpAuthService {
    /// Path of the check request.
    pub path: ServicePath,
    /// Header fields of the response that the backend receives, if the response allows the request.
    pub headers_to_backend: AnswerFields,
}

/// Header fields of the response that the backend receives, if the response allows the request.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum AnswerFields {
    /// Fields with these names. The client's own fields with these names are removed, whether or not the
    /// response contains them.
    Listed(Vec<Text<HeaderName>>),
    /// All fields except those that describe the response itself. They replace the client's fields of the
    /// same names.
    All,
}

impl Default for AnswerFields {
    /// No fields.
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// Path of a check request.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ServicePath {
    /// Prefix of the path and query of the request.
    Prefix(String),
    /// Path and query of every check request.
    Fixed(String),
}

impl Default for ServicePath {
    /// Path and query of the request.
    fn default() -> Self {
        Self::Prefix(String::new())
    }
}

/// A path of a service that does not begin with `/`, or contains a character that is not allowed in
/// a path.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a path; it must begin with /")]
pub struct InvalidServicePath(String);

impl ServicePath {
    /// `text` as the prefix of the path and query of the request; empty: no prefix.
    ///
    /// # Errors
    /// `text` is not a path.
    pub fn prefix(text: impl Into<String>) -> Result<Self, InvalidServicePath> {
        let text = text.into();
        if text.is_empty() {
            return Ok(Self::default());
        }
        check(text).map(Self::Prefix)
    }

    /// The same path and query for every check request.
    ///
    /// # Errors
    /// `text` is not a path.
    pub fn fixed(text: impl Into<String>) -> Result<Self, InvalidServicePath> {
        check(text.into()).map(Self::Fixed)
    }
}

fn check(path: String) -> Result<String, InvalidServicePath> {
    if path.starts_with('/') && path.parse::<PathAndQuery>().is_ok() {
        Ok(path)
    } else {
        Err(InvalidServicePath(path))
    }
}

impl HttpAuthService {
    /// The check request for a client's request with this head.
    pub(super) fn question(
        &self,
        head: &request::Parts,
        sent: Option<&[Text<HeaderName>]>,
        body: Option<&SentPart>,
        timeout: Duration,
    ) -> Result<Request<Body>, http::Error> {
        let own = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut question = Request::new(Body::empty());
        *question.method_mut() = head.method.clone();
        *question.uri_mut() = match &self.path {
            ServicePath::Prefix(prefix) if prefix.is_empty() => own.parse()?,
            ServicePath::Prefix(prefix) => format!("{prefix}{own}").parse()?,
            ServicePath::Fixed(path) => path.parse()?,
        };
        let headers = question.headers_mut();
        let mut copy = |name: &HeaderName| {
            if let Some(value) = joined(&head.headers, name) {
                headers.insert(name, value);
            }
        };
        for name in sent.into_iter().flatten() {
            if is_editable(name) && **name != PARTIAL_BODY {
                copy(name);
            }
        }
        copy(&AUTHORIZATION);
        match head.uri.authority() {
            Some(authority) => {
                let host = HeaderValue::from_str(authority.as_str())?;
                headers.insert(HOST, host);
            }
            None => copy(&HOST),
        }
        headers.insert(INTERNAL, HeaderValue::from_static("true"));
        headers.insert(EXPECTED_TIME, milliseconds(timeout));
        let mut length = 0;
        if let Some(part) = body {
            length = part.data.len();
            headers.insert(PARTIAL_BODY, part.is_partial());
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(part) = body {
            *question.body_mut() = part.data.clone().into();
        }
        Ok(question)
    }

    /// The decision in a response of the service.
    ///
    /// # Errors
    /// [`ServiceError::Status`] for a status of 500 or above.
    pub fn read_answer(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Verdict, ServiceError> {
        if status == StatusCode::OK {
            return Ok(Verdict::Allow(self.changes(&headers)));
        }
        if !Self::denies(status) {
            return Err(ServiceError::Status(status));
        }
        let empty = body.is_empty();
        let mut reply = LocalReply::new(status, "ext_authz_denied")
            .with_flag("UAEX")
            .with_body(body)
            .with_headers(headers);
        // As in Envoy, an empty body has no media type.
        reply
            .headers
            .retain(|(name, _)| is_editable(name) && !(empty && *name == CONTENT_TYPE));
        Ok(Verdict::Deny(reply))
    }

    /// Whether a response with this status denies the request.
    pub(super) fn denies(status: StatusCode) -> bool {
        status != StatusCode::OK && (200..500).contains(&status.as_u16())
    }

    /// The changes in a response that allows the request. If a field has several values, the last
    /// one is used.
    fn changes(&self, headers: &HeaderMap) -> RequestChanges {
        let mut changes = RequestChanges::default();
        let mut copy = |name: &HeaderName| {
            if let Some(value) = headers.get_all(name).iter().next_back() {
                let edit = HeaderEdit::overwrite(name.clone(), value.clone());
                changes.edits.push(edit);
            }
        };
        match &self.headers_to_backend {
            AnswerFields::Listed(names) => names.iter().for_each(|name| copy(name)),
            AnswerFields::All => {
                let names = headers.keys().filter(|name| !describes_answer(name));
                names.for_each(&mut copy);
            }
        }
        for line in headers.get_all(TO_REMOVE) {
            let names = line.as_bytes().split(|byte| *byte == b',');
            let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
            changes.removed.extend(names);
        }
        changes
    }
}

/// Whether a field describes the response itself, so that it would be wrong in a request.
fn describes_answer(name: &HeaderName) -> bool {
    let own = [DATE, ETAG, LAST_MODIFIED, SERVER, VARY, TO_REMOVE];
    name.as_str().starts_with("content-") || own.contains(name)
}

/// A duration in milliseconds, as a header value.
pub(super) fn milliseconds(time: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
