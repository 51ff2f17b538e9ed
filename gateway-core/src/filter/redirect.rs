//! Redirects (Gateway API `HTTPRequestRedirectFilter`).
//!
//! `Location` consists of the parts that the filter sets; all other parts are copied from the request. The
//! query is unchanged, unless the filter sets a full path with a query. The port is determined as in Envoy
//! Gateway:
//!
//! | filter sets | port |
//! |---|---|
//! | port | port of the filter |
//! | scheme, no hostname | port of `Host` |
//! | scheme and hostname | none |
//! | no scheme | port of the listener |
//!
//! Ports 80 and 443 are omitted.

use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::path::{encode, replace_prefix};
use super::{FilterError, PathEdit, RedirectStatus, WebScheme};
use crate::http::host::Authority;

/// Redirect of a request to another URL.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Redirect {
    /// Scheme. Default: the scheme of the request.
    pub scheme: Option<WebScheme>,
    /// Host. Default: the host of the request.
    pub hostname: Option<String>,
    /// Port. Default: see the table of the [module](self).
    pub port: Option<u16>,
    /// Path replacement. Default: the path of the request.
    pub path: Option<PathEdit>,
    /// Status.
    pub status: RedirectStatus,
}

/// Properties of the request that determine `Location`.
#[derive(Clone, Copy, Debug)]
pub struct RedirectFacts<'a> {
    /// Scheme of the request. Any value other than `https` counts as `http`.
    pub scheme: &'a str,
    /// Authority of the request.
    pub authority: &'a Authority,
    /// Port of the Gateway listener.
    pub listener_port: u16,
    /// Normalised path and query.
    pub path: &'a PathAndQuery,
    /// Prefix that the rule matched. `None`: the rule has no prefix match.
    pub matched_prefix: Option<&'a str>,
}

impl Redirect {
    /// Returns the status and the value of `Location`, an absolute URL.
    ///
    /// # Errors
    /// [`FilterError`] if the filter replaces a prefix that the rule did not match, or if a configured value
    /// is invalid in a header field or in the URL.
    pub fn location(
        &self,
        facts: RedirectFacts<'_>,
    ) -> Result<(StatusCode, HeaderValue), FilterError> {
        let mut location = String::with_capacity(64 + facts.path.as_str().len());
        location.push_str(self.scheme(&facts).word());
        location.push_str("://");
        location.push_str(self.host(&facts)?);
        if let Some(port) = self.port(&facts) {
            location.push(':');
            location.push_str(&port.to_string());
        }
        self.push_path(&mut location, &facts)?;
        if !location.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(FilterError::InvalidText);
        }
        let location = HeaderValue::try_from(location).map_err(|_| FilterError::InvalidText)?;
        Ok((self.status.code(), location))
    }

    fn scheme(&self, facts: &RedirectFacts<'_>) -> WebScheme {
        match self.scheme {
            Some(scheme) => scheme,
            None if facts.scheme.eq_ignore_ascii_case("https") => WebScheme::Https,
            None => WebScheme::Http,
        }
    }

    fn host<'a>(&'a self, facts: &RedirectFacts<'a>) -> Result<&'a str, FilterError> {
        match self.hostname.as_deref() {
            Some(host) if host.is_empty() || host.contains(['/', '?', '#', '@', '\\', ':']) => {
                Err(FilterError::InvalidText)
            }
            Some(host) => Ok(host),
            None => Ok(facts.authority.host_as_sent()),
        }
    }

    /// Port of `Location`. `None` if `Location` contains no port.
    fn port(&self, facts: &RedirectFacts<'_>) -> Option<u16> {
        let port = match (self.port, &self.scheme, &self.hostname) {
            (Some(port), ..) => Some(port),
            (None, Some(_), None) => facts.authority.port(),
            (None, Some(_), Some(_)) => None,
            (None, None, _) => Some(facts.listener_port),
        };
        port.filter(|port| !matches!(port, 80 | 443))
    }

    fn push_path(&self, out: &mut String, facts: &RedirectFacts<'_>) -> Result<(), FilterError> {
        let path = facts.path.path();
        let mut query = facts.path.query();
        // A fragment in the configured path is stored, because it must be written after the query (RFC 3986,
        // section 3).
        let mut fragment = None;
        match &self.path {
            None => out.push_str(path),
            Some(PathEdit::Full(full)) => {
                if !full.starts_with('/') {
                    out.push('/');
                }
                let full = match full.split_once('#') {
                    Some((full, rest)) => {
                        fragment = Some(encode(rest));
                        full
                    }
                    None => full.as_str(),
                };
                out.push_str(&encode(full));
                query = query.filter(|_| !full.contains('?'));
            }
            Some(PathEdit::Prefix(new)) => {
                let prefix = facts.matched_prefix.ok_or(FilterError::NoPrefix)?;
                let path = replace_prefix(path, prefix, &encode(new));
                out.push_str(&path.ok_or(FilterError::NoPrefix)?);
            }
        }
        if let Some(query) = query {
            out.push('?');
            out.push_str(query);
        }
        if let Some(fragment) = fragment {
            out.push('#');
            out.push_str(&fragment);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTENER: u16 = 20042;

    fn redirect() -> Redirect {
        Redirect {
            scheme: None,
            hostname: None,
            port: None,
            path: None,
            status: RedirectStatus::Found,
        }
    }

    fn scheme(scheme: &str) -> Redirect {
        Redirect {
            scheme: Some(match scheme {
                "http" => WebScheme::Http,
                _ => WebScheme::Https,
            }),
            ..redirect()
        }
    }

    #[test]
    fn a_fragment_follows_the_query_and_other_characters_are_percent_encoded() {
        for (edit, expected) in [
            (PathEdit::Full("/a#b".to_owned()), "http://a.test/a?q=1#b"),
            (
                PathEdit::Full("/é?x#ü".to_owned()),
                "http://a.test/%C3%A9?x#%C3%BC",
            ),
            (
                PathEdit::Prefix("/é".to_owned()),
                "http://a.test/%C3%A9/x?q=1",
            ),
        ] {
            let redirect = Redirect {
                path: Some(edit),
                port: Some(80),
                ..redirect()
            };

            let location = locate(&redirect, "a.test", "/old/x?q=1", Some("/old"));

            assert_eq!(location.unwrap(), expected);
        }
    }

    fn locate(
        redirect: &Redirect,
        host: &str,
        path: &str,
        prefix: Option<&str>,
    ) -> Result<String, FilterError> {
        let authority = Authority::parse(&host.parse().unwrap()).unwrap();
        let facts = RedirectFacts {
            scheme: "http",
            authority: &authority,
            listener_port: LISTENER,
            path: &path.parse().unwrap(),
            matched_prefix: prefix,
        };
        let (_, location) = redirect.location(facts)?;
        Ok(location.to_str().unwrap().to_owned())
    }

    /// Expected results are recorded from Envoy.
    #[rustfmt::skip]
    #[test]
    fn ports_are_written_as_envoy_writes_them() {
        let port = |redirect: Redirect, port| Redirect { port: Some(port), ..redirect };
        let host = |redirect| Redirect { hostname: Some("new.example.org".to_owned()), ..redirect };
        for (redirect, host, path, expected) in [
            (scheme("https"), "other.test:8443", "/", "https://other.test:8443/"),
            (scheme("https"), "[2001:db8::1]:8080", "/", "https://[2001:db8::1]:8080/"),
            (scheme("https"), "[2001:db8::1]", "/", "https://[2001:db8::1]/"),
            (scheme("https"), "team-b.example.com", "/a%20b", "https://team-b.example.com/a%20b"),
            (scheme("https"), "team-b.example.com", "/a?x", "https://team-b.example.com/a?x"),
            (scheme("http"), "r.test", "/http", "http://r.test/http"),
            (scheme("http"), "r.test:8080", "/http", "http://r.test:8080/http"),
            (port(scheme("https"), 8443), "r.test", "/x", "https://r.test:8443/x"),
            (port(scheme("http"), 80), "r.test", "/x", "http://r.test/x"),
            (port(scheme("https"), 80), "r.test", "/x", "https://r.test/x"),
            (port(redirect(), 9000), "r.test:8080", "/port", "http://r.test:9000/port"),
            (host(redirect()), "r.test", "/host/x?q=1", "http://new.example.org:20042/host/x?q=1"),
            (host(redirect()), "r.test:8080", "/host", "http://new.example.org:20042/host"),
            (port(host(redirect()), 8080), "r.test", "/x", "http://new.example.org:8080/x"),
        ] {
            assert_eq!(locate(&redirect, host, path, None).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn ports_80_and_443_are_never_written() {
        for host in ["r.test:80", "r.test:443", "r.test", "r.test:"] {
            assert_eq!(
                locate(&scheme("https"), host, "/", None).as_deref(),
                Ok("https://r.test/")
            );
        }
        let to = Redirect {
            hostname: Some("b.test".to_owned()),
            ..scheme("https")
        };
        assert_eq!(
            locate(&to, "a.test:8080", "/", None).as_deref(),
            Ok("https://b.test/")
        );
    }

    /// Expected results are recorded from Envoy, except those of the last four rows.
    #[test]
    fn prefixes_are_replaced_as_envoy_replaces_them() {
        for (prefix, new, path, expected) in [
            ("/pre", "/post", "/pre", "/post"),
            ("/pre", "/post", "/pre/x/y?q=1", "/post/x/y?q=1"),
            ("/root", "/", "/root/", "/"),
            ("/empty/", "", "/empty/", "/"),
            // The results of Envoy for the following rows are different: `/post/`, `/post//`, `/empty` and
            // `/appx`.
            ("/preslash/", "/post/", "/preslash", "/post"),
            ("/preslash/", "/post/", "/preslash/", "/post/"),
            ("/empty/", "", "/empty", "/"),
            ("/", "/app", "/x", "/app/x"),
        ] {
            let redirect = Redirect {
                path: Some(PathEdit::Prefix(new.to_owned())),
                ..scheme("https")
            };

            let location = locate(&redirect, "r.test", path, Some(prefix));

            assert_eq!(
                location,
                Ok(format!("https://r.test{expected}")),
                "{path} {prefix}"
            );
        }
    }

    #[test]
    fn a_whole_path_keeps_the_query_unless_it_has_one() {
        for (full, expected) in [
            ("/new", "/new?q=1"),
            ("/new?x=1", "/new?x=1"),
            ("new", "/new?q=1"),
        ] {
            let redirect = Redirect {
                path: Some(PathEdit::Full(full.to_owned())),
                ..scheme("https")
            };

            let location = locate(&redirect, "r.test", "/full?q=1", None);

            assert_eq!(location, Ok(format!("https://r.test{expected}")));
        }
    }

    #[test]
    fn what_would_make_another_url_is_refused() {
        let full = |text: &str| Redirect {
            path: Some(PathEdit::Full(text.to_owned())),
            ..redirect()
        };
        let host = |text: &str| Redirect {
            hostname: Some(text.to_owned()),
            ..redirect()
        };
        for bad in [
            full("/a\r\nset-cookie: x"),
            full("/a b"),
            host("a.test/x"),
            host("u@a.test"),
            host("a.test\r\nx: y"),
            host(""),
        ] {
            assert_eq!(
                locate(&bad, "r.test", "/", None),
                Err(FilterError::InvalidText),
                "{bad:?}"
            );
        }
        let prefix = Redirect {
            path: Some(PathEdit::Prefix("/b".to_owned())),
            ..redirect()
        };
        assert_eq!(
            locate(&prefix, "r.test", "/a", None),
            Err(FilterError::NoPrefix)
        );
    }

    proptest! {
        /// The path of a request does not affect the host of `Location`.
        #[test]
        fn no_path_leads_to_another_host(
            path in "/[a-z/.@:%2f\\\\]{0,12}",
            query in "[a-z/?@:]{0,6}",
            new in prop::sample::select(vec!["", "/", "/x", "/x/"]),
            prefix in prop::sample::select(vec!["/", "/a"]),
        ) {
            let redirect = Redirect {
                hostname: Some("safe.test".to_owned()),
                path: Some(PathEdit::Prefix(new.to_owned())),
                ..scheme("https")
            };

            let text = format!("{path}?{query}");
            let Ok(location) = locate(&redirect, "evil.test", &text, Some(prefix)) else { return Ok(()) };

            let rest = location.strip_prefix("https://safe.test");
            prop_assert!(rest.is_some_and(|rest| rest.starts_with('/')), "{location}");
            let end = format!("?{query}");
            prop_assert!(location.ends_with(&end));
        }
    }
}
