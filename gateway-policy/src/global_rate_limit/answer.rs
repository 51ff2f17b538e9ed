//! Responses of the service: whether a request is allowed, and the `x-ratelimit-*` fields of its
//! response.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use towergate_core::{HeaderList, LocalReply};

use super::message::{self, DescriptorStatus, OVER_LIMIT, RateLimitResponse};
use crate::ext_auth::is_editable;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The decision on a request, from all responses of the service.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) over_limit: bool,
    /// Statuses of the descriptors whose limits are sent in responses.
    shown: Vec<DescriptorStatus>,
    pub(super) request_headers: HeaderList,
    response_headers: HeaderList,
    body: Bytes,
}

impl Decision {
    /// Adds a response of the service. For each descriptor, `shown` states whether its limit is sent to
    /// clients.
    pub(super) fn add(&mut self, answer: RateLimitResponse, shown: &[bool]) {
        self.over_limit |= answer.overall_code == OVER_LIMIT;
        let statuses = answer.statuses.into_iter().zip(shown);
        self.shown
            .extend(statuses.filter_map(|(status, shown)| shown.then_some(status)));
        self.request_headers
            .extend(answer.request_headers_to_add.iter().filter_map(field));
        self.response_headers
            .extend(answer.response_headers_to_add.iter().filter_map(field));
        self.body = answer.raw_body;
    }

    /// The header fields of the response to an allowed request.
    pub(super) fn response_headers(&mut self) -> HeaderList {
        let mut headers = limit_headers(&self.shown);
        headers.append(&mut self.response_headers);
        headers
    }

    /// The response to a request above a limit.
    pub(super) fn reply(mut self) -> LocalReply {
        LocalReply {
            headers: self.response_headers(),
            ..LocalReply::new(StatusCode::TOO_MANY_REQUESTS, "request_rate_limited")
                .with_body(self.body)
                .with_flag("RL")
        }
    }
}

/// The header field that the service adds; `None`: the field is invalid, or frames the message.
fn field(header: &message::HeaderValue) -> Option<(HeaderName, HeaderValue)> {
    let value = if header.value.is_empty() {
        &header.raw_value[..]
    } else {
        header.value.as_bytes()
    };
    let name = HeaderName::from_bytes(header.key.as_bytes()).ok()?;
    let value = HeaderValue::from_bytes(value).ok()?;
    is_editable(&name).then_some((name, value))
}

/// The fields for the limit with the fewest requests left, and the policies of all limits (draft 3 of the RateLimit
/// header fields).
fn limit_headers(statuses: &[DescriptorStatus]) -> HeaderList {
    let with_limit = || {
        let limit = |status| Some((status, DescriptorStatus::limit(status)?));
        statuses.iter().filter_map(limit)
    };
    let Some((nearest, limit)) = with_limit().min_by_key(|(status, _)| status.limit_remaining)
    else {
        return Vec::new();
    };
    let mut text = limit.requests_per_unit.to_string();
    for (_, limit) in with_limit() {
        if let Some(window) = limit.window() {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {};w={window}", limit.requests_per_unit);
            if !limit.name.is_empty() {
                let _ = write!(text, ";name=\"{}\"", limit.name);
            }
        }
    }
    let reset = nearest.duration_until_reset.as_ref();
    let reset = reset.map_or(0, |time| time.seconds);
    let mut headers = vec![
        (REMAINING, HeaderValue::from(nearest.limit_remaining)),
        (RESET, HeaderValue::from(reset)),
    ];
    // The name of a limit may contain characters that are not allowed in a field value. The field is then
    // omitted.
    headers.extend(HeaderValue::from_str(&text).ok().map(|text| (LIMIT, text)));
    headers
}

impl DescriptorStatus {
    fn limit(&self) -> Option<&message::CurrentLimit> {
        self.current_limit.as_ref()
    }
}
