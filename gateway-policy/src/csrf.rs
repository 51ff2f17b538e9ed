//! Protection against requests that pages of other origins forge (SecurityPolicy `csrf`).
//!
//! A request with an unsafe method must come from a page on the request's own host or on one of the origins
//! that the policy adds. `Origin` identifies the page, or `Referer` if there is no `Origin`. Host and port
//! are compared; the scheme is not. An absent port equals the default port of the scheme.

use http::header::{HOST, ORIGIN, REFERER};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request};
use serde::{Deserialize, Serialize};
use towergate_core::LocalReply;
use towergate_core::policy::{HeadPolicy, RequestHead};

/// The origins whose pages may send requests with unsafe methods.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct CsrfProtection {
    /// Allowed origins, in addition to the host of the request.
    pub additional: Vec<SourceOrigin>,
    /// Share of requests that are forwarded even if the check fails, as numerator and denominator. Default: none.
    pub shadow: Option<(u32, u32)>,
}

/// The host and port of an origin.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum SourceOrigin {
    /// Every named origin.
    Any,
    /// Any host with this port. `None`: the default port of the scheme.
    AnyHost(Option<String>),
    /// One host. The host contains a port if the port is not the default of the scheme.
    Exact(String),
    /// Hosts with any number of labels before this domain (`example.com` for `https://*.example.com`).
    Below(String),
}

impl SourceOrigin {
    /// Reads an origin of the policy: `*`, `SCHEME://HOST[:PORT]`, or `SCHEME://*.HOST[:PORT]`.
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://").unwrap_or(("", &text));
        if host == "*" {
            return Self::Any;
        }
        let host = without_default_port(scheme, host);
        match (host.strip_prefix('*'), host.strip_prefix("*.")) {
            (_, Some(parent)) => Self::Below(parent.to_owned()),
            (Some(""), None) => Self::AnyHost(None),
            (Some(port), None) if port.starts_with(':') => {
                Self::AnyHost(Some(port[1..].to_owned()))
            }
            _ => Self::Exact(host.to_owned()),
        }
    }

    /// Whether `host` (in lower case) matches this origin. A wildcard matches whole labels.
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::AnyHost(port) => port_of(host) == port.as_deref(),
            Self::Exact(own) => own == host,
            Self::Below(parent) => {
                let labels = host.strip_suffix(parent.as_str());
                let labels = labels.and_then(|labels| labels.strip_suffix('.'));
                labels.is_some_and(|labels| !labels.is_empty() && !labels.contains(['/', ':', '@']))
            }
        }
    }
}

impl CsrfProtection {
    /// Rejects a request from a page of another origin.
    ///
    /// # Errors
    /// 403, as Envoy replies.
    pub fn decide(&self, head: &request::Parts) -> Result<(), LocalReply> {
        if !changes_something(&head.method) || self.is_allowed(head) || self.is_shadowed() {
            return Ok(());
        }
        Err(
            LocalReply::new(StatusCode::FORBIDDEN, "csrf_origin_mismatch")
                .with_body("Invalid origin"),
        )
    }

    fn is_allowed(&self, head: &request::Parts) -> bool {
        let Some(source) = source_host(&head.headers) else {
            return false;
        };
        let target = match head.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
        };
        target.is_some_and(|target| target.eq_ignore_ascii_case(&source))
            || self.additional.iter().any(|origin| origin.matches(&source))
    }

    fn is_shadowed(&self) -> bool {
        self.shadow.is_some_and(|(numerator, denominator)| {
            denominator > 0 && fastrand::u32(0..denominator) < numerator
        })
    }
}

impl HeadPolicy for CsrfProtection {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        self.decide(request.head)
    }
}

/// Whether the method is unsafe, as in Envoy.
fn changes_something(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::DELETE, Method::PATCH].contains(method)
}

/// Removes the port from `host` if it is the default port of `scheme`.
fn without_default_port<'h>(scheme: &str, host: &'h str) -> &'h str {
    let stripped = match scheme {
        "https" => host.strip_suffix(":443"),
        "http" => host.strip_suffix(":80"),
        _ => None,
    };
    stripped.unwrap_or(host)
}

/// The port of an authority. The colons of an IPv6 address are in brackets.
fn port_of(host: &str) -> Option<&str> {
    let (_, port) = host.rsplit_once(':')?;
    (!port.ends_with(']')).then_some(port)
}

/// Host and port of the page that sent the request, in lower case. `Origin: null` contains neither host nor
/// port. A field with several lines identifies no page, because the backend may read another line than the
/// gateway.
fn source_host(headers: &HeaderMap) -> Option<String> {
    let name = if headers.contains_key(ORIGIN) {
        ORIGIN
    } else {
        REFERER
    };
    let mut lines = headers.get_all(name).iter();
    let value: &HeaderValue = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    let uri: Uri = value.to_str().ok()?.parse().ok()?;
    let host = without_default_port(uri.scheme_str()?, uri.authority()?.as_str());
    (!host.contains('@')).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn passes(rule: &CsrfProtection, method: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder()
            .method(method)
            .uri("/")
            .header("host", "shop.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        rule.decide(&head).is_ok()
    }

    #[test]
    fn a_request_that_changes_something_comes_from_its_own_host() {
        let rule = CsrfProtection::default();
        for (method, headers, expected) in [
            ("GET", vec![("origin", "http://evil.test")], true),
            ("OPTIONS", vec![("origin", "http://evil.test")], true),
            ("POST", vec![], false),
            ("POST", vec![("origin", "http://shop.test")], true),
            ("POST", vec![("origin", "https://SHOP.test")], true),
            ("POST", vec![("origin", "http://shop.test:8080")], false),
            ("POST", vec![("origin", "null")], false),
            (
                "POST",
                vec![
                    ("origin", "http://shop.test"),
                    ("origin", "http://evil.test"),
                ],
                false,
            ),
            (
                "POST",
                vec![("origin", "null"), ("referer", "http://shop.test/form")],
                false,
            ),
            ("PUT", vec![("referer", "http://shop.test/form")], true),
            ("PATCH", vec![("referer", "/form")], false),
            ("DELETE", vec![("origin", "http://evil.test")], false),
            (
                "POST",
                vec![("origin", "http://evil.test@shop.test")],
                false,
            ),
            ("POST", vec![("origin", "shop.test")], false),
        ] {
            assert_eq!(
                passes(&rule, method, &headers),
                expected,
                "{method} {headers:?}"
            );
        }
    }

    #[test]
    fn additional_origins_are_compared_by_host_and_port() {
        let origins = [
            "https://*.example.com",
            "https://exact.test",
            "http://partner.test:8080",
        ];
        let rule = CsrfProtection {
            additional: origins.into_iter().map(SourceOrigin::parse).collect(),
            shadow: None,
        };
        for (origin, expected) in [
            ("https://a.example.com", true),
            ("http://a.b.example.com", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://evilexample.com", false),
            ("https://a.example.com:444", false),
            ("http://exact.test", true),
            ("http://partner.test:8080", true),
            ("http://partner.test", false),
            ("https://evil.test", false),
        ] {
            assert_eq!(
                passes(&rule, "POST", &[("origin", origin)]),
                expected,
                "{origin}"
            );
        }
    }

    #[test]
    fn ports_of_additional_origins_are_those_of_cors() {
        for (origin, passing, refused) in [
            (
                "https://*:8443",
                vec![
                    "https://a.test:8443",
                    "http://a.b.test:8443",
                    "https://[::1]:8443",
                ],
                vec![
                    "https://a.test",
                    "https://a.test:443",
                    "https://[::8443]",
                    "null",
                ],
            ),
            (
                "https://p.com:443",
                vec!["https://p.com", "https://p.com:443", "https://P.com"],
                vec!["https://p.com:8443", "https://x.p.com", "http://p.com:443"],
            ),
            (
                "http://p.com:80",
                vec!["http://p.com", "http://p.com:80"],
                vec!["http://p.com:8080", "https://p.com:80"],
            ),
            (
                "https://*.p.com:443",
                vec!["https://x.p.com", "https://y.x.p.com:443"],
                vec!["https://p.com", "https://x.p.com:8443", "https://xp.com"],
            ),
            (
                "https://*.p.com:8443",
                vec!["https://x.p.com:8443"],
                vec!["https://x.p.com", "https://x.p.com:18443"],
            ),
            (
                "https://*:443",
                vec!["https://a.test", "https://a.test:443", "https://[::1]"],
                vec!["https://a.test:8443", "null"],
            ),
        ] {
            let rule = CsrfProtection {
                additional: vec![SourceOrigin::parse(origin)],
                shadow: None,
            };
            for (sources, expected) in [(passing, true), (refused, false)] {
                for source in sources {
                    let passed = passes(&rule, "POST", &[("origin", source)]);
                    assert_eq!(passed, expected, "{origin} {source}");
                }
            }
        }
    }

    #[test]
    fn any_origin_must_still_be_named() {
        let rule = CsrfProtection {
            additional: vec![SourceOrigin::parse("*")],
            shadow: None,
        };

        assert!(passes(&rule, "POST", &[("origin", "http://evil.test")]));
        assert!(!passes(&rule, "POST", &[]));
    }

    #[test]
    fn a_shadow_of_everything_refuses_nothing() {
        let rule = |shadow| CsrfProtection {
            additional: Vec::new(),
            shadow,
        };

        assert!(passes(&rule(Some((100, 100))), "POST", &[]));
        assert!(!passes(&rule(Some((0, 100))), "POST", &[]));
    }
}
