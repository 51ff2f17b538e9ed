//! The URL to which a provider redirects the browser after a login.
//!
//! Scheme and host may have operators for header fields of the request, such as
//! `%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback`. The path has no operators, because it
//! identifies the callback.

use http::{HeaderName, request};
use serde::{Deserialize, Serialize};

use super::login::RequestUrl;

/// A redirect URL, parsed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedirectUrl {
    text: String,
    /// Scheme and authority.
    origin: Vec<UrlPart>,
    path: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum UrlPart {
    Text(String),
    Scheme,
    Authority,
    Header(HeaderName),
}

/// Host of a redirect URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RedirectHost<'u> {
    /// A fixed host.
    Fixed {
        /// Host without port.
        host: &'u str,
        /// Port; `None`: that of the scheme.
        port: Option<u16>,
    },
    /// The host of the request, including its port.
    OfRequest,
    /// The host of the request, or values of other header fields, with text before or after them. An example
    /// is a fixed port after the host, if a device in front of the gateway maps ports.
    Composed,
}

/// The reason why a string is not a redirect URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectUrlError {
    /// The scheme is missing, or is neither `http` nor `https`.
    #[error("the scheme must be http, https or %REQ(x-forwarded-proto)%")]
    Scheme,
    /// The host is missing.
    #[error("the host is missing")]
    Host,
    /// The path is missing, or is the root.
    #[error("a path other than / is required, for example /oauth2/callback")]
    Path,
    /// The path has an operator, a query or a fragment.
    #[error("the path cannot have operators, a query or a fragment")]
    PathNotFixed,
    /// An operator is not supported.
    #[error("the operator %{0}% is not supported; use %REQ(header-name)%")]
    Operator(String),
    /// An operator has no closing `%`.
    #[error("an operator has no closing %")]
    Unfinished,
}

impl RedirectUrl {
    /// The redirect URL of policies that set none.
    pub const DEFAULT: &'static str =
        "%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback";

    /// Parses a URL with operators.
    ///
    /// # Errors
    /// The first part that is not valid in a redirect URL.
    pub fn parse(text: &str) -> Result<Self, RedirectUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RedirectUrlError::Scheme)?;
        let (host, path) = rest.split_once('/').ok_or(RedirectUrlError::Path)?;
        if path.is_empty() {
            return Err(RedirectUrlError::Path);
        }
        if path.contains(['%', '?', '#']) || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(RedirectUrlError::PathNotFixed);
        }
        let mut origin = parts(scheme)?;
        let known = |part: &UrlPart| match part {
            UrlPart::Text(text) => matches!(text.as_str(), "http" | "https"),
            UrlPart::Scheme | UrlPart::Header(_) => true,
            UrlPart::Authority => false,
        };
        if origin.len() != 1 || !origin.iter().all(known) {
            return Err(RedirectUrlError::Scheme);
        }
        origin.push(UrlPart::Text("://".to_owned()));
        let host = parts(host)?;
        if host.is_empty() {
            return Err(RedirectUrlError::Host);
        }
        origin.extend(host);
        Ok(Self {
            text: text.to_owned(),
            origin,
            path: format!("/{path}"),
        })
    }

    /// The path of the callback.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The scheme. `None`: the scheme depends on the request.
    pub fn scheme(&self) -> Option<&str> {
        match self.origin.first() {
            Some(UrlPart::Text(scheme)) => Some(scheme),
            _ => None,
        }
    }

    /// The host, and whether it depends on the request.
    pub fn host(&self) -> RedirectHost<'_> {
        // The first two parts are the scheme and its separator.
        match self.origin.get(2..) {
            Some([UrlPart::Authority]) => RedirectHost::OfRequest,
            Some([UrlPart::Text(text)]) => {
                let split = text.rsplit_once(':');
                let split = split.and_then(|(host, port)| Some((host, port.parse().ok()?)));
                match split {
                    Some((host, port)) => RedirectHost::Fixed {
                        host,
                        port: Some(port),
                    },
                    None => RedirectHost::Fixed {
                        host: text,
                        port: None,
                    },
                }
            }
            _ => RedirectHost::Composed,
        }
    }

    /// The URL for a request.
    pub(super) fn of(&self, head: &request::Parts, request: &RequestUrl<'_>) -> String {
        let mut url = String::with_capacity(64);
        for part in &self.origin {
            match part {
                UrlPart::Text(text) => url.push_str(text),
                UrlPart::Scheme => url.push_str(request.scheme),
                UrlPart::Authority => url.push_str(request.authority),
                UrlPart::Header(name) => {
                    let value = head.headers.get(name).and_then(|v| v.to_str().ok());
                    url.push_str(value.unwrap_or_default());
                }
            }
        }
        url.push_str(&self.path);
        url
    }
}

impl Default for RedirectUrl {
    /// `/oauth2/callback` on the request's host.
    fn default() -> Self {
        let separator = UrlPart::Text("://".to_owned());
        Self {
            text: Self::DEFAULT.to_owned(),
            origin: vec![UrlPart::Scheme, separator, UrlPart::Authority],
            path: "/oauth2/callback".to_owned(),
        }
    }
}

fn parts(mut text: &str) -> Result<Vec<UrlPart>, RedirectUrlError> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let (plain, rest) = text.split_once('%').unwrap_or((text, ""));
        if !plain.is_empty() {
            if !plain.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(RedirectUrlError::Host);
            }
            parts.push(UrlPart::Text(plain.to_owned()));
        }
        if plain.len() == text.len() {
            break;
        }
        let (operator, rest) = rest.split_once('%').ok_or(RedirectUrlError::Unfinished)?;
        parts.push(parse_operator(operator)?);
        text = rest;
    }
    Ok(parts)
}

fn parse_operator(operator: &str) -> Result<UrlPart, RedirectUrlError> {
    let unknown = || RedirectUrlError::Operator(operator.to_owned());
    let name = operator.strip_prefix("REQ(");
    let name = name
        .and_then(|name| name.strip_suffix(')'))
        .ok_or_else(unknown)?;
    match name.to_ascii_lowercase().as_str() {
        "x-forwarded-proto" | ":scheme" => Ok(UrlPart::Scheme),
        ":authority" | "host" => Ok(UrlPart::Authority),
        name => HeaderName::try_from(name)
            .map(UrlPart::Header)
            .map_err(|_| unknown()),
    }
}

impl TryFrom<String> for RedirectUrl {
    type Error = RedirectUrlError;

    fn try_from(text: String) -> Result<Self, RedirectUrlError> {
        Self::parse(&text)
    }
}

impl From<RedirectUrl> for String {
    fn from(url: RedirectUrl) -> Self {
        url.text
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn operators_take_scheme_host_and_fields_of_the_request() {
        let (head, ()) = Request::get("/a?b")
            .header("host", "app.test:8443")
            .header("x-forwarded-proto", "https")
            .header("x-tenant", "one")
            .body(())
            .unwrap()
            .into_parts();
        let url = RequestUrl::of(&head).unwrap();
        for (text, expected) in [
            (
                RedirectUrl::DEFAULT,
                "https://app.test:8443/oauth2/callback",
            ),
            (
                "https://login.test/back/here",
                "https://login.test/back/here",
            ),
            (
                "%REQ(:scheme)%://%REQ(Host)%/cb",
                "https://app.test:8443/cb",
            ),
            ("https://%REQ(x-tenant)%.test/cb", "https://one.test/cb"),
        ] {
            assert_eq!(RedirectUrl::parse(text).unwrap().of(&head, &url), expected);
        }
    }

    #[test]
    fn scheme_and_host_are_known_as_far_as_they_have_no_operators() {
        let fixed = |host, port| RedirectHost::Fixed { host, port };
        for (text, scheme, host) in [
            (RedirectUrl::DEFAULT, None, RedirectHost::OfRequest),
            ("https://a.test/cb", Some("https"), fixed("a.test", None)),
            (
                "http://a.test:81/cb",
                Some("http"),
                fixed("a.test", Some(81)),
            ),
            ("https://[::1]/cb", Some("https"), fixed("[::1]", None)),
            (
                "https://%REQ(host)%/cb",
                Some("https"),
                RedirectHost::OfRequest,
            ),
            ("%REQ(x-a)%://%REQ(x-b)%/cb", None, RedirectHost::Composed),
            (
                "https://%REQ(host)%:8443/cb",
                Some("https"),
                RedirectHost::Composed,
            ),
            (
                "https://%REQ(x-a)%.test/cb",
                Some("https"),
                RedirectHost::Composed,
            ),
        ] {
            let url = RedirectUrl::parse(text).unwrap();
            assert_eq!((url.scheme(), url.host()), (scheme, host), "{text}");
            assert_eq!(url.path().get(..1), Some("/"), "{text}");
        }
    }

    #[test]
    fn the_default_is_the_default_text() {
        let parsed = RedirectUrl::parse(RedirectUrl::DEFAULT);
        assert_eq!(parsed, Ok(RedirectUrl::default()));
    }

    #[test]
    fn what_is_not_a_redirect_url_is_named() {
        use RedirectUrlError as Error;
        for (text, expected) in [
            ("/callback", Error::Scheme),
            ("ftp://a.test/cb", Error::Scheme),
            ("%REQ(:authority)%://a.test/cb", Error::Scheme),
            ("https:///cb", Error::Host),
            ("https://a.test", Error::Path),
            ("https://a.test/", Error::Path),
            ("https://a.test/%REQ(x)%", Error::PathNotFixed),
            ("https://a.test/cb?x=1", Error::PathNotFixed),
            ("https://%REQ(x/cb", Error::Unfinished),
            ("https://%HOST%/cb", Error::Operator("HOST".to_owned())),
            (
                "https://%REQ(a b)%/cb",
                Error::Operator("REQ(a b)".to_owned()),
            ),
        ] {
            assert_eq!(RedirectUrl::parse(text), Err(expected), "{text}");
        }
    }
}
