//! Responses to malformed and incomplete HTTP/1 requests.
//!
//! hyper itself responds to requests that it cannot parse. This response has no body, and hyper has no hook
//! to change it. [`InstrumentedIo`](super::instrumented_io::InstrumentedIo) recognises it, because hyper
//! writes it while no response of the gateway is in progress, and withholds it from the client
//! ([`status_of`]). After hyper has returned the connection, [`classify`] determines the error, and the
//! gateway sends the response that Envoy sends.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRANSFER_ENCODING};
use http::{Response, StatusCode};

use crate::{Error, LocalReply};

/// Fields that frame the message or close the connection. The handler cannot set them.
const FRAMING: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING];

/// hyper's maximum number of fields in a head.
const MAX_FIELDS: usize = 100;

/// Encodes the last response of a connection. Header fields that frame the message are replaced.
pub(crate) fn to_bytes(response: Response<Bytes>) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    let editable = head
        .headers
        .iter()
        .filter(|(name, _)| !FRAMING.contains(name));
    for (name, value) in editable {
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

/// Reason why a request is malformed or incomplete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CodecError {
    /// The head is not HTTP.
    BadRequest,
    /// A field value has a control character.
    BadCharacters,
    /// The target is not a valid URL.
    BadUrl,
    /// The HTTP version is not 1.1.
    LowVersion,
    /// The transfer coding is unknown.
    UnknownCoding,
    /// The head is too large.
    TooLarge,
    /// The head has too many fields.
    TooMany,
    /// The head was not complete in time.
    HeadTimeout,
    /// The head was not complete within the timeout of the request.
    RequestTimeout,
    /// The head was not complete within the idle timeout of streams.
    HeadIdle,
    /// The body was idle for too long.
    BodyIdle,
}

impl CodecError {
    /// The reply that Envoy sends for this error.
    pub(crate) fn reply(self) -> LocalReply {
        let status = match self {
            Self::BadRequest | Self::BadCharacters | Self::BadUrl => StatusCode::BAD_REQUEST,
            Self::LowVersion => StatusCode::UPGRADE_REQUIRED,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge | Self::TooMany => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTimeout => {
                return LocalReply::new(StatusCode::REQUEST_TIMEOUT, self.details())
                    .with_body("request header timeout");
            }
            Self::RequestTimeout => return Error::RequestTimeout.reply(),
            Self::HeadIdle | Self::BodyIdle => return Error::StreamIdle(false).reply(),
        };
        let reason = status.canonical_reason().unwrap_or_default();
        LocalReply::new(status, self.details())
            .with_body(reason)
            .with_flag("DPE")
    }

    /// Response code details as in Envoy. They are also the label of the error in metrics.
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::BadRequest => "http1.codec_error",
            Self::BadCharacters => "http1.invalid_characters",
            Self::BadUrl => "http1.invalid_url",
            Self::LowVersion => "low_version",
            Self::UnknownCoding => "http1.invalid_transfer_encoding",
            Self::TooLarge => "http1.headers_too_large",
            Self::TooMany => "http1.too_many_headers",
            Self::HeadTimeout => "request_header_timeout",
            Self::RequestTimeout => "request_overall_timeout",
            Self::HeadIdle | Self::BodyIdle => "stream_idle_timeout",
        }
    }

    /// Whether the handler has received the request. If so, the handler records the exchange.
    pub(crate) fn is_recorded(self) -> bool {
        self == Self::BodyIdle
    }
}

/// The status, if `bytes` begin a response with status 4xx.
pub(crate) fn status_of(bytes: &[u8]) -> Option<u16> {
    let status = bytes.strip_prefix(b"HTTP/1.")?.get(1..5)?;
    match status {
        [b' ', b'4', a @ b'0'..=b'9', b @ b'0'..=b'9'] => {
            Some(400 + u16::from(a - b'0') * 10 + u16::from(b - b'0'))
        }
        _ => None,
    }
}

/// Determines the error for which hyper responded with `status`. `error` is hyper's error message. `unread`
/// contains the bytes that hyper has not consumed: the whole head, unless the head is well-formed and a field
/// value is invalid.
pub(crate) fn classify(status: u16, error: &str, unread: &[u8], max_head: usize) -> CodecError {
    match status {
        431 if unread.len() < max_head => CodecError::TooMany,
        414 | 431 => CodecError::TooLarge,
        _ if error.contains("unexpected transfer-encoding") => CodecError::LowVersion,
        _ if error.contains("transfer-encoding") => CodecError::UnknownCoding,
        _ if has_other_version(unread) => CodecError::LowVersion,
        // hyper has consumed the head, so the head is well-formed except for the target.
        _ if error.contains("invalid URI") && unread.is_empty() => CodecError::BadUrl,
        _ if has_bad_url(unread) => CodecError::BadUrl,
        _ if has_bad_characters(unread) => CodecError::BadCharacters,
        _ => CodecError::BadRequest,
    }
}

/// The error of an incomplete head that no further bytes can make valid. hyper does not report this error,
/// because it parses a head that arrives in several pieces only when the head is complete.
pub(crate) fn of_incomplete_head(unread: &[u8], max_head: usize) -> Option<CodecError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::Request::new(&mut fields).parse(unread) {
        Ok(_) => None,
        Err(httparse::Error::TooManyHeaders) => Some(CodecError::TooMany),
        Err(_) => Some(classify(400, "", unread, max_head)),
    }
}

/// Whether the error depends on bytes after `head`: `head` ends within the HTTP version of its request line, or
/// with the CR of a request line without a version.
pub(crate) fn is_undecided(head: &[u8]) -> bool {
    let line = head.trim_ascii_start();
    if line.ends_with(b"\r") && !line.contains(&b'\n') {
        return true;
    }
    let mut words = line.splitn(3, |b| *b == b' ').skip(2);
    !line.contains(&b'\n')
        && words
            .next()
            .is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// Whether the target begins with a scheme. hyper's error has no details for an invalid target of this form.
fn has_bad_url(head: &[u8]) -> bool {
    let target = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
    target.starts_with(b"http://") || target.starts_with(b"https://")
}

/// Whether `byte` may be part of a method or a field name.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte)
}

/// Whether `line` has a method, a target and a valid version.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, b"HTTP/1.0" | b"HTTP/1.1"] = words[..] else {
        return false;
    };
    let is_target = !target.is_empty() && !target.iter().any(u8::is_ascii_control);
    is_target && !method.is_empty() && method.iter().all(is_token)
}

/// Whether the request line is valid, and the first invalid field has a control character in its value.
fn has_bad_characters(head: &[u8]) -> bool {
    let is_control = |b: &u8| b.is_ascii_control() && *b != b'\t';
    let mut lines = head.split(|b| *b == b'\n');
    if !lines.next().is_some_and(is_request_line) {
        return false;
    }
    for line in lines {
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

/// Whether the first line is a request line with a version other than 1.1 (`HTTP/`, digit, dot, digit), or a
/// complete line without a version, as in HTTP/0.9.
fn has_other_version(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let is_complete = line.len() < head.len();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|b| *b == b' ');
    let is_method = words
        .next()
        .is_some_and(|method| !method.is_empty() && method.iter().all(u8::is_ascii_uppercase));
    let is_target = words
        .next()
        .is_some_and(|target| target.starts_with(b"/") && !target.iter().any(u8::is_ascii_control));
    let is_version = match words.next() {
        None => is_complete,
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
    fn another_http_version_is_distinguished_from_other_bytes() {
        let table: [(&[u8], bool); 18] = [
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
            (b"GET /", false),
            (b"GET /\0", false),
            (b"GET /\0\r\n", false),
            (b"GET /\x7f HTTP/1.2\r\n", false),
            (b"SSH-2.0-x\r\n", false),
            (b"\0\r\nQUIT\n", false),
            (b"", false),
        ];
        for (head, expected) in table {
            assert_eq!(has_other_version(head), expected, "{head:?}");
        }
    }

    #[test]
    fn the_head_determines_the_details() {
        let table: [(&[u8], &str); 9] = [
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
            (b"GET /\0 HTTP/1.1\r\nA: \x01\r\n\r\n", "http1.codec_error"),
            (b"GET  / HTTP/1.1\r\nA: \x01\r\n\r\n", "http1.codec_error"),
        ];
        for (head, details) in table {
            let error = classify(400, "", head, 1000);
            assert_eq!(error.reply().details, details, "{head:?}");
        }
        let consumed = classify(400, "invalid URI", b"", 1000);
        assert_eq!(consumed, CodecError::BadUrl);
    }

    #[test]
    fn errors_of_requests_have_the_details_of_their_replies() {
        for error in [
            CodecError::RequestTimeout,
            CodecError::HeadIdle,
            CodecError::BodyIdle,
        ] {
            assert_eq!(error.reply().details, error.details());
        }
    }

    #[test]
    fn only_4xx_responses_are_recognized() {
        assert_eq!(status_of(b"HTTP/1.1 431 Request Header"), Some(431));
        assert_eq!(status_of(b"HTTP/1.0 400 Bad Request"), Some(400));
        assert_eq!(status_of(b"HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(status_of(b"HTTP/1.1 4"), None);
        assert_eq!(status_of(b"hello"), None);
    }

    #[test]
    fn a_codec_reply_is_complete_and_edits_do_not_change_its_framing() {
        let mut response: Response<Bytes> = CodecError::TooLarge.reply().into_response(false);
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
