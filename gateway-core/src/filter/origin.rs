//! Web origins and origin patterns (RFC 6454, section 6.1; Gateway API `CORSOrigin`).
//!
//! An origin or pattern without a port has the default port of its scheme. The host `*` matches every host,
//! `*.` before a host matches one or more labels, and the pattern `*` matches every origin, `null` included.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Origin pattern.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OriginPattern {
    /// Matches every origin.
    Any,
    /// Matches origins of one scheme and port.
    Of {
        /// `http` or `https`.
        scheme: WebScheme,
        /// Host pattern.
        host: HostPattern,
        /// Port. Default: 80 for `http`, 443 for `https`.
        port: u16,
    },
}

/// An origin that is compared as text, without regard to case: one of any scheme, such as `capacitor://localhost`,
/// or `null`. The first `*` matches one or more letters, digits and hyphens, as in ingress-nginx.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OriginText(String);

/// Scheme of an origin or a redirect target.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebScheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// Host pattern in lower case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostPattern {
    /// Matches every host.
    Any,
    /// Matches this host.
    Exact(String),
    /// Matches hosts with one or more labels before this suffix, which begins with a dot.
    Below(String),
}

/// Error: the string is not an origin pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is not an origin; use scheme://host or scheme://*.host, each with an optional :port, or *"
)]
pub struct InvalidOrigin(String);

impl OriginPattern {
    /// Whether `origin` matches. `origin` is the value of the `origin` header.
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of { scheme, host, port } => split(origin).is_some_and(|found| {
                let same = (found.0, found.2) == (*scheme, *port);
                same && !found.1.contains('*') && host.matches(found.1)
            }),
        }
    }
}

impl OriginText {
    /// Whether `origin` matches. `origin` is the value of the `origin` header.
    pub fn matches(&self, origin: &str) -> bool {
        let Some((before, after)) = self.0.split_once('*') else {
            return origin.eq_ignore_ascii_case(&self.0);
        };
        let Some((start, rest)) = origin.split_at_checked(before.len()) else {
            return false;
        };
        let label = rest.len().checked_sub(after.len());
        let Some((label, end)) = label.and_then(|label| rest.split_at_checked(label)) else {
            return false;
        };
        start.eq_ignore_ascii_case(before)
            && end.eq_ignore_ascii_case(after)
            && !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }
}

impl FromStr for OriginText {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let valid = text == "null"
            || text.split_once("://").is_some_and(|(scheme, rest)| {
                let letters = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphabetic());
                let host = |b: u8| b.is_ascii_alphanumeric() || b"-.:*".contains(&b);
                letters && rest.bytes().all(host) && rest.matches('*').count() <= 1
            });
        match valid {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidOrigin(text.to_owned())),
        }
    }
}

impl TryFrom<String> for OriginText {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        text.parse()
    }
}

impl From<OriginText> for String {
    fn from(OriginText(text): OriginText) -> Self {
        text
    }
}

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|before| *before > 0)
                .and_then(|before| host.get(before..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
        }
    }
}

impl WebScheme {
    /// The port of URLs that do not contain a port.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme in the form that URLs contain.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Splits an origin or pattern into scheme, host and port. `None` if the string is neither.
fn split(origin: &str) -> Option<(WebScheme, &str, u16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let scheme = [WebScheme::Http, WebScheme::Https]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known.word()))?;
    // The colons of an IPv6 address are in brackets.
    let end = rest.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match rest.get(end..)?.find(':') {
        None => (rest, scheme.default_port()),
        Some(colon) => {
            let (host, port) = rest.split_at(end + colon);
            (host, decode_port(&port[1..])?)
        }
    };
    is_host(host).then_some((scheme, host, port))
}

fn decode_port(digits: &str) -> Option<u16> {
    let all = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| all && *port > 0)
}

/// Whether the string is an IPv6 address in brackets or consists of host characters and wildcards.
fn is_host(text: &str) -> bool {
    let plain = |text: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'*');
        !text.is_empty() && text.bytes().all(allowed)
    };
    match text.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => plain(text),
    }
}

impl FromStr for OriginPattern {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let invalid = || InvalidOrigin(text.to_owned());
        let (scheme, host, port) = split(text).ok_or_else(invalid)?;
        let host = match host.strip_prefix('*') {
            Some("") => HostPattern::Any,
            Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') => {
                HostPattern::Below(suffix.to_ascii_lowercase())
            }
            Some(_) => return Err(invalid()),
            None => HostPattern::Exact(host.to_ascii_lowercase()),
        };
        match &host {
            HostPattern::Exact(name) | HostPattern::Below(name) if name.contains('*') => {
                Err(invalid())
            }
            _ => Ok(Self::Of { scheme, host, port }),
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of { scheme, host, port } = self else {
            return f.write_str("*");
        };
        write!(f, "{}://", scheme.word())?;
        match host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Exact(name) => f.write_str(name)?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
        }
        if *port == scheme.default_port() {
            Ok(())
        } else {
            write!(f, ":{port}")
        }
    }
}

impl TryFrom<String> for OriginPattern {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        text.parse()
    }
}

impl From<OriginPattern> for String {
    fn from(pattern: OriginPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_take_the_origins_that_they_name() {
        let table: &[(&str, &[&str], &[&str])] = &[
            (
                "*",
                &["https://a.test", "http://a.test:8080", "null", "x"],
                &[],
            ),
            (
                "https://www.foo.com",
                &[
                    "https://www.foo.com",
                    "HTTPS://WWW.Foo.com",
                    "https://www.foo.com:443",
                ],
                &[
                    "http://www.foo.com",
                    "https://www.foo.com:8443",
                    "https://xwww.foo.com",
                    "https://www.foo.com.evil.test",
                    "https://www.foo.com/",
                    "https://www.foo.com:",
                    "https://www.foo.com:0443x",
                    "null",
                    "",
                ],
            ),
            (
                "https://*.bar.com",
                &["https://www.bar.com", "https://xpto.www.bar.com"],
                &[
                    "https://bar.com",
                    "https://.bar.com.evil.test",
                    "https://foobar.com",
                    "https://www.bar.com:444",
                    "https://evil.test/.bar.com",
                    "https://u@x.bar.com",
                ],
            ),
            (
                "http://*:8080",
                &["http://a:8080", "http://a.b.test:8080", "http://[::1]:8080"],
                &[
                    "http://a",
                    "https://a:8080",
                    "http://[::1]:80",
                    "http://[x]:8080",
                ],
            ),
        ];

        for (pattern, taken, refused) in table {
            let pattern: OriginPattern = pattern.parse().unwrap();
            for origin in *taken {
                assert!(pattern.matches(origin), "{pattern} {origin}");
            }
            for origin in *refused {
                assert!(!pattern.matches(origin), "{pattern} {origin}");
            }
        }
    }

    #[test]
    fn what_is_no_origin_is_no_pattern() {
        for text in [
            "",
            "**",
            "foo.com",
            "ftp://foo.com",
            "https://",
            "https://foo.com/",
            "https://foo.com:0",
            "https://foo.com:70000",
            "https://*foo.com",
            "https://*.",
            "https://a.*.com",
            "https://*.*.com",
            "null",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_in_an_origin_text_matches_one_label() {
        let table: &[(&str, &[&str], &[&str])] = &[
            (
                "https://*.example.com",
                &["https://a.example.com", "HTTPS://A-1.Example.com"],
                &[
                    "https://a.b.example.com",
                    "https://.example.com",
                    "https://example.com",
                    "https://a.example.com.test",
                    "http://a.example.com",
                    "https://a_b.example.com",
                    "https://é.example.com",
                ],
            ),
            ("null", &["null"], &["https://a.test", "", "xnull"]),
            (
                "capacitor://localhost",
                &["capacitor://localhost"],
                &["http://localhost", "capacitor://localhost:80"],
            ),
        ];

        for (text, taken, refused) in table {
            let text: OriginText = text.parse().unwrap();
            for origin in *taken {
                assert!(text.matches(origin), "{text:?} {origin}");
            }
            for origin in *refused {
                assert!(!text.matches(origin), "{text:?} {origin}");
            }
        }
        for invalid in [
            "",
            "*",
            "a.test",
            "://a",
            "https://a/b",
            "https://*.*.a",
            "nul",
        ] {
            assert!(invalid.parse::<OriginText>().is_err(), "{invalid}");
        }
    }

    proptest! {
        /// A pattern is unchanged by formatting and parsing. If it has no wildcard, it matches its own text.
        #[test]
        fn patterns_read_back(
            text in "https?://(\\*\\.)?[a-z]{1,3}(\\.[a-z]{1,3}){0,2}(:[1-9][0-9]{0,3})?"
        ) {
            let pattern: OriginPattern = text.parse().unwrap();

            prop_assert_eq!(&pattern.to_string().parse::<OriginPattern>().unwrap(), &pattern);
            prop_assert_eq!(pattern.matches(&text), !text.contains('*'));
        }

        #[test]
        fn no_text_panics(pattern in ".{0,20}", origin in "(https?://)?[\\[\\]:*.a-z0-9é]{0,12}") {
            if let Ok(text) = pattern.parse::<OriginText>() {
                text.matches(&origin);
            }
            for text in [&pattern, &origin] {
                if let Ok(pattern) = text.parse::<OriginPattern>() {
                    pattern.matches(&origin);
                }
            }
        }
    }
}
