//! Names and attributes of the cookies of a session and of a login.
//!
//! | cookie | contents | lifetime |
//! |---|---|---|
//! | `OauthHMAC-S` | signature of the session | access token |
//! | `OauthExpires-S` | end of the session, seconds since 1970 | access token |
//! | `AccessToken-S`, `IdToken-S` | the tokens, sealed | the token |
//! | `RefreshToken-S` | the refresh token with its end, sealed | refresh token |
//! | `OauthNonce-S.FLOW` | token against request forgery of one login | login |
//! | `CodeVerifier.FLOW` | PKCE verifier of one login, sealed | 10 minutes |
//!
//! `S` identifies the policy, `FLOW` the login. As in Envoy, the cookies of a login are also set without
//! `FLOW`, but only those with `FLOW` are read.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use http::HeaderValue;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};
use towergate_core::HeaderList;

use super::chunks;
use super::jar::CookieJar;
use crate::security::SameSite;

/// Maximum number of logins of one browser whose cookies are kept. Cookies of earlier logins are deleted, so
/// that the header fields of a request stay small.
const MOST_LOGINS: usize = 8;

/// Names and attributes of cookies.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SessionCookies {
    /// Suffix of all default names. Identifies the policy.
    pub suffix: String,
    /// Name of the cookie with the access token.
    pub access_token: String,
    /// Name of the cookie with the ID token.
    pub id_token: String,
    /// Attribute `Domain`. `None`: the browser sends the cookies only to the host of the request.
    pub domain: Option<String>,
    /// Attribute `SameSite`. `None`: the default of the browser.
    pub same_site: Option<SameSite>,
}

impl SessionCookies {
    /// Cookies of the policy `name`, with default names and attributes.
    pub fn of_policy(name: &str) -> Self {
        let digest = digest(&SHA256, name.as_bytes());
        Self::new(HEXLOWER.encode(&digest.as_ref()[..4]))
    }

    /// Cookies with default names and attributes.
    pub fn new(suffix: impl Into<String>) -> Self {
        let suffix = suffix.into();
        Self {
            access_token: format!("AccessToken-{suffix}"),
            id_token: format!("IdToken-{suffix}"),
            suffix,
            domain: None,
            same_site: None,
        }
    }

    pub(super) fn signature(&self) -> String {
        format!("OauthHMAC-{}", self.suffix)
    }

    pub(super) fn expiry(&self) -> String {
        format!("OauthExpires-{}", self.suffix)
    }

    pub(super) fn refresh_token(&self) -> String {
        format!("RefreshToken-{}", self.suffix)
    }

    pub(super) fn nonce(&self, flow: &str) -> String {
        format!("OauthNonce-{}.{flow}", self.suffix)
    }

    pub(super) fn verifier(flow: &str) -> String {
        format!("CodeVerifier.{flow}")
    }

    /// Names of the four cookies of a login, in Envoy's order.
    pub(super) fn of_login(&self, flow: &str) -> [String; 4] {
        [
            self.nonce(flow),
            format!("OauthNonce-{}", self.suffix),
            Self::verifier(flow),
            "CodeVerifier".to_owned(),
        ]
    }

    /// Whether the gateway sets a cookie of this name. Cookies of the gateway are removed from requests to
    /// the backend.
    pub(super) fn is_own(&self, name: &str) -> bool {
        let is = |own: &str| {
            let rest = name.strip_prefix(own);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let suffixed = |kind: &str| {
            let rest = name.strip_prefix(kind).and_then(|n| n.strip_prefix('-'));
            let rest = rest.and_then(|rest| rest.strip_prefix(&*self.suffix));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        is(&self.access_token)
            || is(&self.id_token)
            || ["OauthHMAC", "OauthExpires", "RefreshToken", "OauthNonce"]
                .iter()
                .any(|kind| suffixed(kind))
            || is("CodeVerifier")
    }

    /// The value of a `Set-Cookie` field that sets a cookie for `lifetime`.
    fn set(&self, name: &str, value: &str, lifetime: Duration) -> String {
        let mut text = format!("{name}={value}");
        if let Some(domain) = &self.domain {
            text.push_str(";domain=");
            text.push_str(domain);
        }
        let seconds = lifetime.as_secs();
        text.push_str(&format!(";path=/;Max-Age={seconds};secure;HttpOnly"));
        if let Some(same_site) = &self.same_site {
            text.push_str(";SameSite=");
            text.push_str(same_site.as_str());
        }
        text
    }

    /// The value of a `Set-Cookie` field that deletes a cookie.
    fn delete(&self, name: &str) -> String {
        let mut text = format!("{name}=deleted; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT");
        if let Some(domain) = &self.domain {
            text.push_str(";domain=");
            text.push_str(domain);
        }
        if name.starts_with("__Secure-") || name.starts_with("__Host-") {
            // Browsers ignore cookies with these prefixes if `Secure` is missing.
            text.push_str("; secure");
        }
        text
    }

    /// Adds a cookie to `fields`. `None` if its value contains a character that is not allowed in
    /// cookies, or is too long.
    pub(super) fn add(
        &self,
        fields: &mut HeaderList,
        jar: &CookieJar<'_>,
        name: &str,
        value: &str,
        lifetime: Duration,
    ) -> Option<()> {
        if !value.bytes().all(is_cookie_octet) {
            return None;
        }
        let parts = chunks::split(value)?;
        for (index, part) in parts.iter().enumerate() {
            push(fields, self.set(&chunks::name(name, index), part, lifetime))?;
        }
        self.delete_parts(fields, jar, name, parts.len());
        Some(())
    }

    /// Deletes a cookie, including its further parts that are in the request.
    pub(super) fn remove(&self, fields: &mut HeaderList, jar: &CookieJar<'_>, name: &str) {
        push(fields, self.delete(name));
        self.delete_parts(fields, jar, name, 1);
    }

    fn delete_parts(&self, fields: &mut HeaderList, jar: &CookieJar<'_>, name: &str, from: usize) {
        for index in from.max(1)..chunks::MOST {
            let part = chunks::name(name, index);
            if jar.get(&part).is_some() {
                push(fields, self.delete(&part));
            }
        }
    }

    /// Deletes the cookies of the oldest logins if there are too many.
    pub(super) fn remove_old_logins(&self, fields: &mut HeaderList, jar: &CookieJar<'_>) {
        let nonce = self.nonce("");
        let flows = || jar.names().filter_map(|name| name.strip_prefix(&nonce));
        if flows().count() < MOST_LOGINS {
            return;
        }
        for flow in flows() {
            push(fields, self.delete(&self.nonce(flow)));
            push(fields, self.delete(&Self::verifier(flow)));
        }
    }
}

fn push(fields: &mut HeaderList, text: String) -> Option<()> {
    let value = HeaderValue::try_from(text).ok()?;
    fields.push((SET_COOKIE, value));
    Some(())
}

/// Whether this byte is allowed in a cookie value (RFC 6265, section 4.1.1).
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::COOKIE;

    use super::*;

    fn texts(fields: &HeaderList) -> Vec<&str> {
        fields.iter().map(|(_, v)| v.to_str().unwrap()).collect()
    }

    #[test]
    fn attributes_are_those_of_envoy() {
        let mut cookies = SessionCookies::new("0a");
        let (mut fields, jar) = (HeaderList::new(), CookieJar::default());
        let time = Duration::from_secs(600);

        cookies.add(&mut fields, &jar, "A", "v", time).unwrap();
        cookies.remove(&mut fields, &jar, "A");
        cookies.domain = Some("test".to_owned());
        cookies.same_site = Some(SameSite::Strict);
        cookies.add(&mut fields, &jar, "A", "v", time).unwrap();
        cookies.remove(&mut fields, &jar, "__Secure-A");

        assert_eq!(
            texts(&fields),
            [
                "A=v;path=/;Max-Age=600;secure;HttpOnly",
                "A=deleted; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT",
                "A=v;domain=test;path=/;Max-Age=600;secure;HttpOnly;SameSite=Strict",
                "__Secure-A=deleted; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT;domain=test; secure",
            ]
        );
    }

    #[test]
    fn own_cookies_are_known_by_name_with_their_parts_and_logins() {
        let cookies = SessionCookies::new("0a");
        for (name, own) in [
            ("AccessToken-0a", true),
            ("AccessToken-0a.1", true),
            ("AccessToken-0ab", false),
            ("IdToken-0b", false),
            ("OauthNonce-0a.0011", true),
            ("OauthHMAC-0a", true),
            ("OauthHMAC", false),
            ("CodeVerifier.0011", true),
            ("CodeVerifier", true),
            ("session", false),
        ] {
            assert_eq!(cookies.is_own(name), own, "{name}");
        }
    }

    #[test]
    fn a_value_that_would_end_the_cookie_is_not_set() {
        let cookies = SessionCookies::new("0a");
        let (mut fields, jar) = (HeaderList::new(), CookieJar::default());

        for value in ["a;domain=evil.test", "a b", "a\r\nb", "\u{e9}"] {
            let added = cookies.add(&mut fields, &jar, "A", value, Duration::ZERO);
            assert_eq!(added, None, "{value:?}");
        }
        assert!(fields.is_empty());
    }

    #[test]
    fn parts_of_an_earlier_value_and_logins_beyond_the_limit_are_deleted() {
        let cookies = SessionCookies::new("0a");
        let logins: Vec<String> = (0..8)
            .map(|n| format!("OauthNonce-0a.{n}=x; CodeVerifier.{n}=y"))
            .collect();
        let line = format!("A=~2~x; A.1=y; {}", logins.join("; "));
        let headers = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
        let jar = CookieJar::of(&headers);

        let mut fields = HeaderList::new();
        cookies.add(&mut fields, &jar, "A", "v", Duration::ZERO);
        assert!(texts(&fields)[1].starts_with("A.1=deleted;"));
        let mut fields = HeaderList::new();
        cookies.remove_old_logins(&mut fields, &jar);
        assert_eq!(fields.len(), 16);
    }
}
