//! What a client is told that does not speak HTTP/1, or does not speak in time.
//!
//! hyper answers by itself what it cannot parse, without a body. No hook tells of it, but such an
//! answer can be known: it is written while no answer of ours is on its way. The bytes are kept
//! back there ([`status_of`]), and when hyper has given the connection back, [`reply`] finds what
//! Envoy says in its place.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRANSFER_ENCODING};
use http::{Response, StatusCode};

use crate::LocalReply;

/// Headers that end the message or the connection: nobody may change them.
const FIXED: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING];

/// The bytes of a response after which the connection closes. Header fields that frame the message are
/// replaced.
pub(crate) fn to_bytes(response: Response<Bytes>) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    let free = head
        .headers
        .iter()
        .filter(|(name, _)| !FIXED.contains(name));
    for (name, value) in free {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    let length = body.len();
    let end = format!("content-length: {length}\r\ndate: {date}\r\nconnection: close\r\n\r\n");
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// One row of the table of answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    status: StatusCode,
    body: &'static str,
    flag: &'static str,
    details: &'static str,
}

impl Reply {
    /// Envoy's response code details.
    pub(crate) fn details(self) -> &'static str {
        self.details
    }

    /// Whether the handler has received the request, so that it records the exchange itself.
    pub(crate) fn is_recorded(self) -> bool {
        self == BODY_TIMEOUT
    }
}

impl From<Reply> for LocalReply {
    fn from(reply: Reply) -> Self {
        Self::new(reply.status, reply.details)
            .with_body(reply.body)
            .with_flag(reply.flag)
    }
}

const BAD_REQUEST: Reply = Reply {
    status: StatusCode::BAD_REQUEST,
    body: "Bad Request",
    flag: "DPE",
    details: "http1.codec_error",
};
const TOO_LARGE: Reply = Reply {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    body: "Request Header Fields Too Large",
    flag: "DPE",
    details: "http1.headers_too_large",
};
const TOO_MANY: Reply = Reply {
    details: "http1.too_many_headers",
    ..TOO_LARGE
};
const BAD_CHARACTERS: Reply = Reply {
    details: "http1.invalid_characters",
    ..BAD_REQUEST
};
const BAD_URL: Reply = Reply {
    details: "http1.invalid_url",
    ..BAD_REQUEST
};
const LOW_VERSION: Reply = Reply {
    status: StatusCode::UPGRADE_REQUIRED,
    body: "Upgrade Required",
    flag: "DPE",
    details: "low_version",
};
const UNKNOWN_CODING: Reply = Reply {
    status: StatusCode::NOT_IMPLEMENTED,
    body: "Not Implemented",
    flag: "DPE",
    details: "http1.invalid_transfer_encoding",
};
/// The head was not complete in time.
pub(crate) const HEAD_TIMEOUT: Reply = Reply {
    status: StatusCode::REQUEST_TIMEOUT,
    body: "request header timeout",
    flag: "",
    details: "request_header_timeout",
};
/// The request was not complete in time, and not even its head was.
pub(crate) const REQUEST_TIMEOUT: Reply = Reply {
    status: StatusCode::REQUEST_TIMEOUT,
    body: "request timeout",
    flag: "",
    details: "request_overall_timeout",
};
/// The body of a request did not go on.
pub(crate) const BODY_TIMEOUT: Reply = Reply {
    status: StatusCode::REQUEST_TIMEOUT,
    body: "stream timeout",
    flag: "SI",
    details: "stream_idle_timeout",
};

/// The status, if `bytes` begin an answer with a 4xx status.
pub(crate) fn status_of(bytes: &[u8]) -> Option<u16> {
    let status = bytes.strip_prefix(b"HTTP/1.")?.get(1..5)?;
    match status {
        [b' ', b'4', a @ b'0'..=b'9', b @ b'0'..=b'9'] => {
            Some(400 + u16::from(a - b'0') * 10 + u16::from(b - b'0'))
        }
        _ => None,
    }
}

/// What to answer in place of hyper's `status`. `error` is hyper's text for it, `rest` what hyper
/// had not consumed: the whole head, unless the error is in the meaning of a header.
pub(crate) fn reply(status: u16, error: &str, rest: &[u8], max_head: usize) -> Reply {
    match status {
        431 if rest.len() < max_head => TOO_MANY,
        414 | 431 => TOO_LARGE,
        _ if error.contains("unexpected transfer-encoding") => LOW_VERSION,
        _ if error.contains("transfer-encoding") => UNKNOWN_CODING,
        _ if has_other_version(rest) => LOW_VERSION,
        // The head was consumed: it is well-formed, but for the meaning of the target.
        _ if error.contains("invalid URI") && rest.is_empty() => BAD_URL,
        _ if has_bad_url(rest) => BAD_URL,
        _ if has_bad_characters(rest) => BAD_CHARACTERS,
        _ => BAD_REQUEST,
    }
}

/// Whether the target has a scheme, which is all that is known of what is wrong with it.
fn has_bad_url(head: &[u8]) -> bool {
    let target = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
    target.starts_with(b"http://") || target.starts_with(b"https://")
}

/// Whether the first field that is no good is so because of a control character in its value.
fn has_bad_characters(head: &[u8]) -> bool {
    let is_control = |b: &u8| b.is_ascii_control() && *b != b'\t';
    let is_token = |b: &u8| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(b);
    for line in head.split(|b| *b == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return false;
        };
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().all(is_token) {
            return false;
        }
        if value.iter().any(is_control) {
            return true;
        }
    }
    false
}

/// Whether the first line is that of a request of another version than 1.x: `HTTP/`, digit, dot,
/// digit, or nothing at all, as in HTTP/0.9.
fn has_other_version(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|b| *b == b' ');
    let is_method = words
        .next()
        .is_some_and(|method| !method.is_empty() && method.iter().all(u8::is_ascii_uppercase));
    let is_target = words.next().is_some_and(|target| target.starts_with(b"/"));
    let is_version = match words.next() {
        None => true,
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]) => {
            major.is_ascii_digit() && minor.is_ascii_digit() && (*major, *minor) != (b'1', b'1')
        }
        Some(_) => false,
    };
    is_method && is_target && is_version && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_an_old_or_new_version_from_nonsense() {
        let table: [(&[u8], bool); 14] = [
            (b"GET /\r\n", true),
            (b"GET /\r\nHost: a.test\r\n\r\n", true),
            (b"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n", true),
            (b"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", true),
            (b"GET / HTTP/3.0\r\n\r\n", true),
            (b"GET / HTTP/1\r\n\r\n", false),
            (b"GET / http/1.1\r\n\r\n", false),
            (b"GET / HTTP/1.10\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nX A: 1\r\n\r\n", false),
            (b"GET / HTTP/1.1 x\r\n\r\n", false),
            (b" / HTTP/1.2\r\n\r\n", false),
            (b"SSH-2.0-x\r\n", false),
            (b"\0\r\nQUIT\n", false),
            (b"", false),
        ];
        for (head, expected) in table {
            assert_eq!(has_other_version(head), expected, "{head:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_the_head() {
        let table: [(&[u8], &str); 7] = [
            (
                b"GET / HTTP/1.1\r\nA: 1\x012\r\n\r\n",
                "http1.invalid_characters",
            ),
            (
                b"GET / HTTP/1.1\r\nA: b\r\nC: \x7f\r\n\r\n",
                "http1.invalid_characters",
            ),
            (b"GET / HTTP/1.1\r\nA A: \x01\r\n\r\n", "http1.codec_error"),
            (b"GET / HTTP/1.1\r\nA\tB: x\r\n\r\n", "http1.codec_error"),
            (b"GET / HTTP/1.1\r\n: x\r\n\r\n", "http1.codec_error"),
            (b"GET http:// HTTP/1.1\r\nA: b\r\n\r\n", "http1.invalid_url"),
            (b"GET / HTTP/1.2\r\nA: \x01\r\n\r\n", "low_version"),
        ];
        for (head, details) in table {
            assert_eq!(reply(400, "", head, 1000).details, details, "{head:?}");
        }
        let consumed = reply(400, "invalid URI", b"", 1000);
        assert_eq!(consumed.details, "http1.invalid_url");
    }

    #[test]
    fn only_answers_with_4xx_are_recognised() {
        assert_eq!(status_of(b"HTTP/1.1 431 Request Header"), Some(431));
        assert_eq!(status_of(b"HTTP/1.0 400 Bad Request"), Some(400));
        assert_eq!(status_of(b"HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(status_of(b"HTTP/1.1 4"), None);
        assert_eq!(status_of(b"hello"), None);
    }

    #[test]
    fn a_codec_reply_is_complete_and_edits_do_not_change_its_framing() {
        let mut response: Response<Bytes> = LocalReply::from(TOO_LARGE).into_response(false);
        let headers = response.headers_mut();
        headers.insert("x-late", "edit".parse().unwrap());
        headers.insert(CONTENT_LENGTH, 7.into());
        headers.insert(CONNECTION, "keep-alive".parse().unwrap());

        let text = String::from_utf8(to_bytes(response)).unwrap();

        assert!(text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(text.contains("\r\ncontent-type: text/plain\r\n"));
        assert!(text.contains("\r\nx-late: edit\r\n"));
        assert!(text.contains("\r\ncontent-length: 31\r\n"));
        assert!(text.contains("\r\nconnection: close\r\n"));
        assert_eq!(text.matches("content-length").count(), 1);
        assert_eq!(text.matches("connection").count(), 1);
        assert!(text.ends_with("\r\n\r\nRequest Header Fields Too Large"));
    }
}
