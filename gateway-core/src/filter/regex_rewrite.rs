//! Rewrites of the path by a regular expression, and of the host by a regular expression, a header field or
//! the endpoint (Envoy Gateway `HTTPRouteFilter.urlRewrite`).

use std::fmt;
use std::str::FromStr;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri, request};
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

use super::FilterError;
use super::rewrite::{append_forwarded_host, set_original_path};
use crate::http::host::Authority;
use crate::http::path::{ComparedPath, encode};
use crate::text::{Source, Text};

/// Rewrite of path and host of a request to the backend.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RegexRewrite {
    /// Replacement in the path. Default: none.
    pub path: Option<RegexReplacement>,
    /// `Host`. Default: unchanged.
    pub host: Option<HostRewrite>,
    /// Whether the original authority is appended to `X-Forwarded-Host` if the host changes.
    pub append_forwarded_host: bool,
}

/// Source of a new `Host`.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum HostRewrite {
    /// A fixed host.
    Fixed(String),
    /// The value of a header field. The host is unchanged if the field is absent or empty.
    Header(Text<HeaderName>),
    /// The result of a replacement in the path. The host is unchanged if the expression does not match.
    Path(RegexReplacement),
}

/// Replaces every match of an expression.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct RegexReplacement {
    /// The expression.
    pub pattern: Text<Regex>,
    /// The replacement.
    pub substitution: Text<Substitution>,
}

/// A replacement. `\0` to `\9` refer to groups of the match; `\\` is a backslash.
#[derive(Clone, Debug)]
pub struct Substitution {
    source: String,
    parts: Vec<SubstitutionPart>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum SubstitutionPart {
    Literal(String),
    Group(usize),
}

/// Error: the string is not a valid substitution.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubstitutionError {
    /// The string is empty.
    #[error("it is empty")]
    Empty,
    /// A backslash is not followed by a digit or a backslash.
    #[error("a backslash must be followed by a digit or a backslash")]
    Escape,
}

impl RegexRewrite {
    /// Rewrites the head of a request with this authority. The query is unchanged.
    ///
    /// # Errors
    /// [`FilterError`] if the result is not a valid path or host. On error the head may be
    /// partially rewritten.
    pub fn apply(
        &self,
        head: &mut request::Parts,
        authority: &Authority,
        envoy_headers: bool,
    ) -> Result<(), FilterError> {
        if let Some(host) = self.host.as_ref().and_then(|host| host.find(head)) {
            let host = HeaderValue::from_str(&host).map_err(|_| FilterError::InvalidText)?;
            Authority::parse(&host).map_err(|_| FilterError::InvalidText)?;
            head.headers.insert(HOST, host);
            if self.append_forwarded_host {
                append_forwarded_host(&mut head.headers, authority);
            }
        }
        if let Some(replacement) = &self.path
            && let Some(mut path) = rewritten_path(replacement, head)
        {
            // The path of a request target must not be empty (RFC 9110, section 4.2.3).
            if path.is_empty() {
                path.push('/');
            }
            if !path.starts_with('/') || path.contains('#') {
                return Err(FilterError::InvalidText);
            }
            if let Some(query) = head.uri.query() {
                path.push('?');
                path.push_str(query);
            }
            let path = PathAndQuery::try_from(path).map_err(|_| FilterError::InvalidText)?;
            if envoy_headers {
                set_original_path(head)?;
            }
            head.uri = Uri::from(path);
        }
        Ok(())
    }
}

/// The path after a replacement in the form with which rules were compared. `None` if it does not match.
fn rewritten_path(replacement: &RegexReplacement, head: &request::Parts) -> Option<String> {
    let path = head.uri.path();
    let Some(compared) = head.extensions.get::<ComparedPath>() else {
        return replacement.replace(path);
    };
    match compared.decoded() {
        Some(decoded) => replacement.replace(decoded).map(|path| encode(&path)),
        None => {
            let found = replacement.replace(path);
            found.or_else(|| replacement.replace(compared.literal()))
        }
    }
}

impl HostRewrite {
    /// The new host. `None` if the host is unchanged.
    fn find(&self, head: &request::Parts) -> Option<String> {
        match self {
            Self::Fixed(host) => Some(host.clone()),
            Self::Header(name) => {
                let value = head.headers.get(&**name)?.to_str().ok()?;
                (!value.is_empty()).then(|| value.to_owned())
            }
            Self::Path(replacement) => replacement.replace(head.uri.path()),
        }
    }
}

impl RegexReplacement {
    /// The string with every match replaced. `None` if there is no match, or if the replacement refers to a
    /// group that the expression does not have.
    pub fn replace(&self, text: &str) -> Option<String> {
        let (pattern, substitution) = (&*self.pattern, &*self.substitution);
        if substitution.groups() >= pattern.captures_len() || !pattern.is_match(text) {
            return None;
        }
        let replaced = pattern.replace_all(text, |found: &Captures<'_>| substitution.expand(found));
        Some(replaced.into_owned())
    }
}

impl Substitution {
    /// The greatest group number in the replacement.
    fn groups(&self) -> usize {
        let groups = self.parts.iter().filter_map(|part| match part {
            SubstitutionPart::Literal(_) => None,
            SubstitutionPart::Group(group) => Some(*group),
        });
        groups.max().unwrap_or(0)
    }

    fn expand(&self, found: &Captures<'_>) -> String {
        let parts = self.parts.iter().map(|part| match part {
            SubstitutionPart::Literal(text) => &**text,
            SubstitutionPart::Group(group) => found.get(*group).map_or("", |group| group.as_str()),
        });
        parts.collect()
    }
}

impl FromStr for Substitution {
    type Err = SubstitutionError;

    fn from_str(text: &str) -> Result<Self, SubstitutionError> {
        if text.is_empty() {
            return Err(SubstitutionError::Empty);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            if char != '\\' {
                literal.push(char);
                continue;
            }
            match chars.next() {
                Some('\\') => literal.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    if !literal.is_empty() {
                        parts.push(SubstitutionPart::Literal(std::mem::take(&mut literal)));
                    }
                    let group = digit.to_digit(10).unwrap_or_default();
                    parts.push(SubstitutionPart::Group(group as usize));
                }
                _ => return Err(SubstitutionError::Escape),
            }
        }
        if !literal.is_empty() {
            parts.push(SubstitutionPart::Literal(literal));
        }
        Ok(Self {
            source: text.to_owned(),
            parts,
        })
    }
}

impl Source for Substitution {
    fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn replacement(pattern: &str, substitution: &str) -> RegexReplacement {
        RegexReplacement {
            pattern: pattern.parse().unwrap(),
            substitution: substitution.parse().unwrap(),
        }
    }

    /// Expected results are recorded from Envoy.
    #[test]
    fn paths_are_replaced_as_envoy_replaces_them() {
        for (pattern, substitution, path, expected) in [
            (
                "^/service/([^/]+)(/.*)$",
                r"\2/instance/\1",
                "/service/foo/v1/api?x=1",
                Some("/v1/api/instance/foo?x=1"),
            ),
            ("one", "two", "/one/one", Some("/two/two")),
            ("^(.*?)one(.*)$", r"\1two\2", "/one/one", Some("/two/one")),
            ("(?i)/xxx/", "/yyy/", "/a/XxX/b", Some("/a/yyy/b")),
            ("^/api/?", "/", "/api/x", Some("/x")),
            (".*", "/fixed", "/a/b?c", Some("/fixed?c")),
            ("^/q$", "/p?added=1", "/q?x=1", Some("/p?added=1?x=1")),
            ("^/x", r"\1/y", "/x", Some("/x")),
            (r"^/d(.*)$", r"\1", "/d?x=1", Some("/?x=1")),
            ("/end$", "/start", "/a/end?x=1", Some("/a/start?x=1")),
            ("^/a", "b", "/a/x", None),
            ("^/a", "/#", "/a", None),
        ] {
            let rewrite = RegexRewrite {
                path: Some(replacement(pattern, substitution)),
                host: None,
                append_forwarded_host: true,
            };
            let request = Request::get(path).header(HOST, "w.test").body(()).unwrap();
            let mut head = request.into_parts().0;
            let authority = Authority::parse(&head.headers[HOST]).unwrap();

            let result = rewrite.apply(&mut head, &authority, false);

            let path = result.ok().map(|()| head.uri.to_string());
            assert_eq!(path.as_deref(), expected, "{pattern}");
            assert_eq!(head.headers[HOST], "w.test");
        }
    }

    #[test]
    fn the_host_comes_from_a_field_or_from_the_path() {
        let header = || HostRewrite::Header("x-host".parse().unwrap());
        let path = || HostRewrite::Path(replacement("^/t/([a-z]+)/.*", r"\1.inner.test"));
        for (host, append, sent, expected) in [
            (
                header(),
                true,
                "inner.test",
                Ok(("inner.test", Some("w.test:81"))),
            ),
            (header(), false, "inner.test", Ok(("inner.test", None))),
            (header(), true, "", Ok(("w.test:81", None))),
            (header(), true, "a b", Err(FilterError::InvalidText)),
            (path(), true, "", Ok(("a.inner.test", Some("w.test:81")))),
            (
                HostRewrite::Fixed("f.test".to_owned()),
                false,
                "",
                Ok(("f.test", None)),
            ),
        ] {
            let rewrite = RegexRewrite {
                path: None,
                host: Some(host),
                append_forwarded_host: append,
            };
            let request = Request::get("/t/a/x").header(HOST, "w.test:81");
            let mut head = request
                .header("x-host", sent)
                .body(())
                .unwrap()
                .into_parts()
                .0;
            let authority = Authority::parse(&head.headers[HOST]).unwrap();

            let result = rewrite.apply(&mut head, &authority, false);

            let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
            let result = result.map(|()| (text("host").unwrap(), text("x-forwarded-host")));
            assert_eq!(result, expected, "{rewrite:?}");
        }
    }

    #[test]
    fn a_substitution_is_empty_or_has_a_wrong_escape() {
        let error = |text: &str| text.parse::<Substitution>().unwrap_err();

        assert_eq!(error(""), SubstitutionError::Empty);
        assert_eq!(error(r"\x"), SubstitutionError::Escape);
        assert_eq!(error(r"a\"), SubstitutionError::Escape);
        assert_eq!(r"\\".parse::<Substitution>().unwrap().to_string(), r"\\");
    }
}
