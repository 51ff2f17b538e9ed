//! Sources of a request's token (RFC 6750 section 2).

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue, request};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use towergate_core::plan::Text;

/// Sources of a provider's tokens.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct TokenSources {
    /// Header fields.
    pub headers: Vec<TokenHeader>,
    /// Query parameters.
    pub params: Vec<String>,
    /// Cookies.
    pub cookies: Vec<String>,
}

/// A header field with a token.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct TokenHeader {
    /// The field's name.
    pub name: Text<HeaderName>,
    /// Prefix of the token, such as `Bearer `. A value without this prefix contains no token.
    pub prefix: String,
}

impl Default for TokenSources {
    /// `Authorization: Bearer TOKEN` and the query parameter `access_token`, as in Envoy.
    fn default() -> Self {
        Self {
            headers: vec![TokenHeader {
                name: AUTHORIZATION.into(),
                prefix: "Bearer ".to_owned(),
            }],
            params: vec!["access_token".to_owned()],
            cookies: Vec::new(),
        }
    }
}

impl TokenSources {
    /// All tokens of a request, in the order headers, parameters, cookies. A value that is not text counts as
    /// a malformed token, not as an absent one.
    pub fn find<'h>(&self, head: &'h request::Parts) -> Vec<Cow<'h, str>> {
        let mut found = Vec::new();
        for header in &self.headers {
            let lines = head.headers.get_all(&*header.name).iter();
            found.extend(lines.filter_map(|line| header.token(line)));
        }
        if !self.params.is_empty() {
            let pairs = query_pairs(head.uri.query().unwrap_or_default());
            let wanted = pairs.filter(|(name, _)| self.params.iter().any(|own| own == name));
            found.extend(
                wanted
                    .map(|(_, value)| value)
                    .filter(|value| !value.is_empty()),
            );
        }
        if !self.cookies.is_empty() {
            let lines = head.headers.get_all(COOKIE).iter();
            let pairs = lines
                .filter_map(|line| line.to_str().ok())
                .flat_map(cookie_pairs);
            let wanted = pairs.filter(|(name, _)| self.cookies.iter().any(|own| own == name));
            let values = wanted
                .map(|(_, value)| value)
                .filter(|value| !value.is_empty());
            found.extend(values.map(Cow::Borrowed));
        }
        found
    }
}

impl TokenHeader {
    /// The token of a header line. The value must begin with the prefix. In `Authorization` the prefix is an
    /// authentication scheme and therefore case-insensitive (RFC 9110, section 11.1).
    fn token<'h>(&self, line: &'h HeaderValue) -> Option<Cow<'h, str>> {
        let Ok(text) = line.to_str() else {
            return Some(String::from_utf8_lossy(line.as_bytes()));
        };
        let start = text.get(..self.prefix.len())?;
        let begins = if *self.name == AUTHORIZATION {
            start.eq_ignore_ascii_case(&self.prefix)
        } else {
            start == self.prefix
        };
        let token = text[self.prefix.len()..].trim_matches([' ', '\t']);
        (begins && !token.is_empty()).then_some(Cow::Borrowed(token))
    }
}

/// Names and values of a query, percent-decoded.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Names and values of a `Cookie` line (RFC 6265, section 4.2.1). Quotes around a value are removed.
pub(super) fn cookie_pairs(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let quoted = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        Some((name.trim(), quoted.unwrap_or(value)))
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn find(sources: &TokenSources, target: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let found = sources.find(&head);
        found.into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn a_bearer_token_follows_its_scheme_at_the_start_of_the_value() {
        let sources = TokenSources::default();
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER  abc ", Some("abc")),
            ("x Bearer abc", None),
            ("abc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("Bearer a b", Some("a b")),
        ] {
            let found = find(&sources, "/", &[("authorization", value)]);
            assert_eq!(found.first().map(String::as_str), expected, "{value:?}");
        }
    }

    #[test]
    fn all_places_count() {
        let sources = TokenSources {
            headers: vec![TokenHeader {
                name: HeaderName::from_static("x-token").into(),
                prefix: String::new(),
            }],
            params: vec!["t".to_owned()],
            cookies: vec!["session".to_owned()],
        };
        let headers = [
            ("x-token", "one"),
            ("x-token", "two"),
            ("cookie", "a=1; session=\"four\""),
        ];

        assert_eq!(
            find(&sources, "/?t=%74hree&u=x", &headers),
            ["one", "two", "three", "four"]
        );
        assert_eq!(find(&sources, "/?access_token=x", &[]), [""; 0]);
    }
}
