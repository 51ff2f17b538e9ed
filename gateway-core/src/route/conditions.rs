//! Conditions of a match other than hostname and path.

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Query;
use crate::route::matches::{Match, NameMatch};
use crate::text::{Text, TextMatch};

/// The method, header fields and query parameters of a match.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    method: Option<Method>,
    headers: Box<[NameMatch<Text<HeaderName>>]>,
    query: Box<[NameMatch<String>]>,
    cookies: Box<[NameMatch<String>]>,
}

impl Conditions {
    /// The conditions of `entry`. `None` if the entry has no conditions. The result is boxed, because most
    /// entries have no conditions.
    pub(super) fn new(entry: &Match) -> Option<Box<Self>> {
        if entry.method.is_none()
            && entry.headers.is_empty()
            && entry.query.is_empty()
            && entry.cookies.is_empty()
        {
            return None;
        }
        Some(Box::new(Self {
            method: entry.method.as_deref().cloned(),
            headers: entry.headers.clone().into(),
            query: entry.query.clone().into(),
            cookies: entry.cookies.clone().into(),
        }))
    }

    /// Returns whether all conditions hold.
    pub(super) fn hold(&self, query: &Query<'_>) -> bool {
        self.method.as_ref().is_none_or(|m| m == query.method)
            && self.headers.iter().all(|h| header_holds(h, query.headers))
            && self.query.iter().all(|p| parameter_holds(p, query.query))
            && self.cookies.iter().all(|c| cookie_holds(c, query.headers))
    }
}

/// Only the first cookie with the name counts, as in Envoy. Quotes around its value are ignored.
fn cookie_holds(expected: &NameMatch<String>, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(COOKIE).iter();
    let lines = lines.filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
    let mut cookies = lines.flat_map(|line| line.split(';'));
    let value = cookies.find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == expected.name).then_some(value)
    });
    value.is_some_and(|value| {
        let inner = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        expected.value.matches(inner.unwrap_or(value))
    })
}

/// At least one field line with the name must match, as in Envoy. Field lines are not split at commas.
fn header_holds(expected: &NameMatch<Text<HeaderName>>, headers: &HeaderMap) -> bool {
    headers
        .get_all(&*expected.name)
        .iter()
        .any(|line| line_fits(&expected.value, line))
}

/// Whether the field line matches. A line that is not UTF-8 matches no condition.
fn line_fits(expected: &TextMatch, line: &HeaderValue) -> bool {
    std::str::from_utf8(line.as_bytes()).is_ok_and(|line| expected.matches(line))
}

/// Compares the value without percent-decoding. Only the first parameter with the name counts, as in Envoy.
fn parameter_holds(expected: &NameMatch<String>, query: Option<&str>) -> bool {
    query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(name, _)| *name == expected.name)
        .is_some_and(|(_, value)| expected.value.matches(value))
}
