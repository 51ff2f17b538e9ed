//! Checks and normalisation of single request fields.

use http::header::{COOKIE, EXPECT, REFERER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, request};

use super::is_multiplexed;
use crate::LocalReply;
use crate::http::header_presence::HeaderPresence;
use crate::http::settings::Underscores;

/// Maximum number of fields of a request, as in Envoy.
const MAX_FIELDS: usize = 100;

/// The checks that the fields of a head and the trailers must pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldChecks {
    /// HTTP version of the request.
    pub(super) version: Version,
    /// Handling of names with an underscore.
    pub(super) underscores: Underscores,
    /// Number of pseudo-fields, which count as fields.
    pub(super) pseudo: usize,
}

impl FieldChecks {
    /// Rejects invalid fields. Removes fields with an underscore if the settings require it, and joins the
    /// cookies of an HTTP/2 request. `names`: the names of the fields.
    pub(super) fn apply(
        self,
        headers: &mut HeaderMap,
        names: HeaderPresence,
    ) -> Result<(), LocalReply> {
        if names.has(HeaderPresence::UNDERSCORE) {
            check_underscores(headers, self.version, self.underscores)?;
        }
        if is_multiplexed(self.version) {
            check_padding(headers)?;
            if names.has(HeaderPresence::COOKIE) {
                // Clients may send one field per cookie (RFC 9113, section 8.2.3). As in Envoy, all cookies
                // count as one field.
                join_lines(headers, &COOKIE, b"; ");
            }
            check_count(headers.len() + self.pseudo)?;
        }
        Ok(())
    }
}

/// Rejects, removes or allows fields whose name has an underscore, depending on the settings.
fn check_underscores(
    headers: &mut HeaderMap,
    version: Version,
    underscores: Underscores,
) -> Result<(), LocalReply> {
    match underscores {
        Underscores::Allow => return Ok(()),
        Underscores::Reject if is_multiplexed(version) => {
            return Err(LocalReply::malformed("http2.unexpected_underscore"));
        }
        Underscores::Reject => return Err(LocalReply::malformed("http1.unexpected_underscore")),
        Underscores::Drop => {}
    }
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|n| has_underscore(n))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
    Ok(())
}

/// Number of pseudo-fields of an HTTP/2 request, which contain the method and the target (RFC 9113, section
/// 8.3.1).
pub(super) fn pseudo_fields(head: &request::Parts) -> usize {
    let uri = &head.uri;
    let pseudo = [
        true,
        uri.scheme().is_some(),
        uri.authority().is_some(),
        uri.path_and_query().is_some(),
    ];
    pseudo.iter().filter(|present| **present).count()
}

/// Rejects more fields than the HTTP/1 codec accepts in a head or in trailers. This check applies only to
/// HTTP/2, because the HTTP/1 codec enforces the same limit. As in Envoy, pseudo-fields are counted.
fn check_count(count: usize) -> Result<(), LocalReply> {
    if count > MAX_FIELDS {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(LocalReply::codec_error(
            status,
            "Request Header Fields Too Large",
            "http2.too_many_headers",
        ));
    }
    Ok(())
}

/// Rejects values with leading or trailing whitespace (RFC 9113, section 8.2.1). The HTTP/1 parser removes
/// this whitespace, so the check affects only HTTP/2 requests.
fn check_padding(headers: &HeaderMap) -> Result<(), LocalReply> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &HeaderValue| {
        is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
    };
    if headers.values().any(padded) {
        return Err(LocalReply::malformed("http2.invalid.header.field"));
    }
    Ok(())
}

fn has_underscore(name: &HeaderName) -> bool {
    name.as_str().contains('_')
}

/// Removes `Expect: 100-continue` and rejects any other expectation (RFC 9110, section 10.1.1). Empty list
/// elements are ignored (section 5.6.1.2).
pub(super) fn take_expect(headers: &mut HeaderMap) -> Result<bool, LocalReply> {
    if !headers.contains_key(EXPECT) {
        return Ok(false);
    }
    let lines = headers.get_all(EXPECT).iter();
    let elements = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let mut expectations = elements
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
        .peekable();
    let expects_continue = expectations.peek().is_some();
    if !expectations.all(|element| element.eq_ignore_ascii_case(b"100-continue")) {
        let status = StatusCode::EXPECTATION_FAILED;
        return Err(LocalReply::codec_error(
            status,
            "Expectation Failed",
            "unknown_expectation",
        ));
    }
    headers.remove(EXPECT);
    Ok(expects_continue)
}

/// Removes an invalid `Referer`: one that is neither an absolute URI nor a relative reference, or has user
/// information or a fragment (RFC 9110, section 10.1.3). As in Envoy, several lines are joined first.
pub(super) fn drop_bad_referer(headers: &mut HeaderMap) {
    join_lines(headers, &REFERER, b",");
    if !headers.get(REFERER).is_some_and(is_good_referer) {
        headers.remove(REFERER);
    }
}

fn is_good_referer(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    if text.contains(['#', ' ', '\t']) {
        return false;
    }
    // If the first segment has a colon, the text before the colon must be a scheme (RFC 3986, section 4.2).
    let first = text.split(['/', '?']).next().unwrap_or_default();
    let (scheme, rest) = match first.split_once(':') {
        Some((scheme, _)) if !is_scheme(scheme) => return false,
        Some((scheme, _)) => (scheme, &text[scheme.len() + 1..]),
        None => ("", text),
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return true;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let is_http = ["", "http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    !(authority.contains('@') || is_http && authority.is_empty())
}

/// Whether `text` is a valid scheme (RFC 3986, section 3.1).
fn is_scheme(text: &str) -> bool {
    let is_rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_rest)
}

/// Joins the lines of a field into one.
fn join_lines(headers: &mut HeaderMap, name: &HeaderName, separator: &[u8]) {
    if headers.get_all(name).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let joined = HeaderValue::from_bytes(&lines.join(separator))
        .expect("valid values joined by visible ASCII are valid");
    headers.insert(name, joined);
}
