//! A session: the tokens of a user, and the cookies that hold them.
//!
//! The signature covers host, end, access token and the digest of the ID token together, so cookies
//! of different sessions cannot be mixed. The refresh token is sealed separately, together with its
//! expiry time: browsers delete the other cookies when the access token expires. It contains the same digest
//! of its session's ID token, so that an ID token of another session is not accepted with it, and
//! that the signature can still be verified once the browser has deleted the ID token.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use towergate_core::HeaderList;

use super::SessionKeys;
use super::cookies::SessionCookies;
use super::jar::CookieJar;
use super::state::unix;
use crate::jwt::UnverifiedToken;
use crate::secret::SecretText;

/// The tokens of a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct UserSession {
    /// Access token.
    pub(super) access_token: SecretText,
    /// ID token, if the provider has issued one.
    pub(super) id_token: Option<SecretText>,
    /// Lifetime of the access token, from the time of its issue.
    pub(super) lifetime: Duration,
    /// Refresh token.
    pub(super) refresh_token: Option<RefreshToken>,
}

/// A refresh token with its expiry time, in seconds since 1970.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct RefreshToken {
    pub(super) text: SecretText,
    pub(super) end: u64,
}

/// The session state in the cookies of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum SessionState {
    /// There is no session, or its cookies were changed.
    None,
    /// A session that has not expired.
    Valid(UserSession),
    /// An expired session, with the token that renews it. The ID token is the last one, if it is
    /// still available.
    Expired {
        refresh_token: RefreshToken,
        id_token: Option<SecretText>,
    },
}

/// Scope of a session. A session of a host is not valid for the domain with the same name, and vice
/// versa.
#[derive(Clone, Copy, Debug)]
pub(super) enum SessionSite<'r> {
    /// The host of the request.
    Host(&'r str),
    /// The configured domain of the cookies.
    Domain(&'r str),
}

impl fmt::Display for SessionSite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => write!(f, "host {name}"),
            Self::Domain(name) => write!(f, "domain {name}"),
        }
    }
}

/// Reader and writer of the cookies of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionSeal<'r> {
    pub(super) cookies: &'r SessionCookies,
    pub(super) keys: &'r SessionKeys,
    /// Where a session is valid.
    pub(super) site: SessionSite<'r>,
    /// Whether access and ID token are encrypted.
    pub(super) encrypted: bool,
}

impl SessionSeal<'_> {
    /// The session in the cookies of a request.
    pub(super) fn read(&self, jar: &CookieJar<'_>, now: SystemTime) -> SessionState {
        let access = jar.get_split(&self.cookies.access_token);
        let id = jar.get_split(&self.cookies.id_token);
        let signature = jar.get(&self.cookies.signature());
        let expiry = jar.get(&self.cookies.expiry());
        if let (Some(access), Some(signature), Some(expiry)) = (&access, signature, expiry) {
            let verifies = |id: &str| {
                let signed = self.signed(expiry, access, id);
                self.keys.verify("session", &signed, signature)
            };
            let sent_id = digest_of(id.as_deref());
            // The ID token may expire before the rest.
            let id_was_deleted = || {
                let own = || self.refresh_token(jar, now);
                id.is_none() && own().is_some_and(|(_, own_id)| verifies(&own_id))
            };
            if verifies(&sent_id) {
                let end: u64 = expiry.parse().unwrap_or(0);
                if let Some(left) = end.checked_sub(unix(now)).filter(|left| *left > 0) {
                    let session = self.open(access, id.as_deref(), left);
                    return session.map_or(SessionState::None, SessionState::Valid);
                }
            } else if !id_was_deleted() {
                // The cookies do not belong together: one was changed.
                return SessionState::None;
            }
        }
        let Some((refresh_token, own_id)) = self.refresh_token(jar, now) else {
            return SessionState::None;
        };
        // After the signature cookie has expired, the digest with the refresh token authenticates the ID token.
        let id_token = id.filter(|id| digest_of(Some(id)) == own_id);
        SessionState::Expired {
            refresh_token,
            id_token: id_token.and_then(|text| self.open_token("id", &text)),
        }
    }

    fn open(&self, access: &str, id: Option<&str>, left: u64) -> Option<UserSession> {
        let id_token = match id {
            Some(id) => Some(self.open_token("id", id)?),
            None => None,
        };
        Some(UserSession {
            access_token: self.open_token("access", access)?,
            id_token,
            lifetime: Duration::from_secs(left),
            refresh_token: None,
        })
    }

    fn signed(&self, expiry: &str, access: &str, id_digest: &str) -> String {
        format!("{}\n{expiry}\n{access}\n{id_digest}", self.site)
    }

    fn purpose(&self, kind: &str) -> String {
        format!("{kind} {}", self.site)
    }

    fn open_token(&self, kind: &str, text: &str) -> Option<SecretText> {
        if !self.encrypted {
            return Some(SecretText::new(text));
        }
        let opened = self.keys.open(&self.purpose(kind), text)?;
        String::from_utf8(opened).ok().map(SecretText::new)
    }

    fn seal_token(&self, kind: &str, token: &SecretText) -> Option<String> {
        if !self.encrypted {
            return Some(token.expose().to_owned());
        }
        self.keys
            .seal(&self.purpose(kind), token.expose().as_bytes())
    }

    /// The refresh token, and the digest of its session's ID token cookie.
    fn refresh_token(
        &self,
        jar: &CookieJar<'_>,
        now: SystemTime,
    ) -> Option<(RefreshToken, String)> {
        let sealed = jar.get_split(&self.cookies.refresh_token())?;
        let opened = self.keys.open(&self.purpose("refresh"), &sealed)?;
        let opened = String::from_utf8(opened).ok()?;
        let (end, rest) = opened.split_once(' ')?;
        let (id, text) = rest.split_once(' ')?;
        let end = end.parse().ok()?;
        let text = SecretText::new(text);
        (unix(now) < end).then(|| (RefreshToken { text, end }, id.to_owned()))
    }

    /// The fields that set the cookies of a session. `None` if a token is too long, or contains
    /// characters that are not allowed in a cookie.
    pub(super) fn write(
        &self,
        jar: &CookieJar<'_>,
        session: &UserSession,
        now: SystemTime,
    ) -> Option<HeaderList> {
        let (names, lifetime) = (self.cookies, session.lifetime);
        let access = self.seal_token("access", &session.access_token)?;
        let id = session.id_token.as_ref();
        let id_value = id.map(|id| self.seal_token("id", id));
        let id_value = id_value.map_or(Some(None), |value| value.map(Some))?;
        let expiry = unix(now).saturating_add(lifetime.as_secs()).to_string();
        let id_digest = digest_of(id_value.as_deref());
        let signed = self.signed(&expiry, &access, &id_digest);
        let signature = self.keys.sign("session", &signed)?;
        let mut fields = HeaderList::new();
        let mut add = |name: &str, value: &str, lifetime: Duration| {
            names.add(&mut fields, jar, name, value, lifetime)
        };
        add(&names.signature(), &signature, lifetime)?;
        add(&names.expiry(), &expiry, lifetime)?;
        add(&names.access_token, &access, lifetime)?;
        if let (Some(id), Some(value)) = (id, &id_value) {
            let left = expiry_of(id.expose()).map(|end| end.saturating_sub(unix(now)));
            add(
                &names.id_token,
                value,
                left.map_or(lifetime, Duration::from_secs),
            )?;
        }
        if let Some(token) = &session.refresh_token {
            let text = format!("{} {id_digest} {}", token.end, token.text.expose());
            let sealed = self.keys.seal(&self.purpose("refresh"), text.as_bytes())?;
            let left = Duration::from_secs(token.end.saturating_sub(unix(now)));
            add(&names.refresh_token(), &sealed, left)?;
        }
        Some(fields)
    }

    /// The fields that delete the cookies of a session.
    pub(super) fn clear(&self, jar: &CookieJar<'_>) -> HeaderList {
        let names = self.cookies;
        let mut fields = HeaderList::new();
        for name in [
            &names.signature(),
            &names.access_token,
            &names.id_token,
            &names.refresh_token(),
            &names.expiry(),
        ] {
            names.remove(&mut fields, jar, name);
        }
        fields
    }
}

/// The digest of the cookie with an ID token: base64url, or `-` without one.
fn digest_of(id: Option<&str>) -> String {
    match id {
        Some(id) => BASE64URL_NOPAD.encode(digest(&SHA256, id.as_bytes()).as_ref()),
        None => "-".to_owned(),
    }
}

/// `exp` of a token, if it is a JSON Web Token with this claim.
pub(super) fn expiry_of(token: &str) -> Option<u64> {
    let token = UnverifiedToken::decode(token).ok()?;
    token.claims.get("exp")?.as_u64()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::COOKIE;
    use proptest::prelude::*;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_secs(3600);

    struct Browser {
        cookies: SessionCookies,
        keys: SessionKeys,
        encrypted: bool,
        jar: Vec<(String, String)>,
    }

    impl Browser {
        fn new(encrypted: bool) -> Self {
            let secret = "a secret of at least 32 bytes ...";
            Self {
                cookies: SessionCookies::new("0a"),
                keys: SessionKeys::derive(&[secret], "policy").unwrap(),
                encrypted,
                jar: Vec::new(),
            }
        }

        fn seal<'b>(&'b self, site: &'b str) -> SessionSeal<'b> {
            SessionSeal {
                cookies: &self.cookies,
                keys: &self.keys,
                site: SessionSite::Host(site),
                encrypted: self.encrypted,
            }
        }

        fn log_in(mut self, session: &UserSession) -> Self {
            let fields = self
                .seal("a.test")
                .write(&CookieJar::default(), session, NOW);
            for (_, value) in fields.unwrap() {
                let text = value.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = text.split_once('=').unwrap();
                self.jar.push((name.to_owned(), value.to_owned()));
            }
            self
        }

        fn forget(mut self, name: &str) -> Self {
            self.jar.retain(|(known, _)| !known.starts_with(name));
            self
        }

        fn change(mut self, name: &str, value: &str) -> Self {
            for (known, old) in &mut self.jar {
                if known.starts_with(name) {
                    value.clone_into(old);
                }
            }
            self
        }

        fn read_at(&self, site: &str, now: SystemTime) -> SessionState {
            let pairs: Vec<String> = self.jar.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let line = pairs.join("; ").parse().unwrap();
            let headers = HeaderMap::from_iter([(COOKIE, line)]);
            self.seal(site).read(&CookieJar::of(&headers), now)
        }

        fn read(&self) -> SessionState {
            self.read_at("a.test", NOW)
        }
    }

    fn session() -> UserSession {
        UserSession {
            access_token: SecretText::new("access"),
            id_token: Some(SecretText::new("id")),
            lifetime: HOUR,
            refresh_token: Some(RefreshToken {
                text: SecretText::new("again"),
                end: 86_400,
            }),
        }
    }

    #[test]
    fn a_session_is_read_back_until_it_ends() {
        for encrypted in [true, false] {
            let browser = Browser::new(encrypted).log_in(&session());

            let SessionState::Valid(read) = browser.read() else {
                panic!("the session is valid");
            };
            assert_eq!(read.access_token.expose(), "access");
            assert_eq!(read.id_token.unwrap().expose(), "id");
            let SessionState::Expired { refresh_token, .. } = browser.read_at("a.test", NOW + HOUR)
            else {
                panic!("the session has ended");
            };
            assert_eq!(refresh_token.text.expose(), "again");
            let late = NOW + Duration::from_secs(86_400);
            assert_eq!(browser.read_at("a.test", late), SessionState::None);
        }
    }

    #[test]
    fn tokens_are_in_clear_only_if_encryption_is_off_and_refresh_tokens_never() {
        let value = |browser: &Browser, name: &str| {
            let found = browser.jar.iter().find(|(n, _)| n.starts_with(name));
            found.unwrap().1.clone()
        };
        let plain = Browser::new(false).log_in(&session());
        let sealed = Browser::new(true).log_in(&session());

        assert_eq!(value(&plain, "AccessToken"), "access");
        assert_ne!(value(&plain, "RefreshToken"), "again");
        assert_ne!(value(&sealed, "AccessToken"), "access");
    }

    #[test]
    fn changed_cookies_are_no_session_even_with_a_refresh_token() {
        for encrypted in [true, false] {
            for (name, value) in [
                ("OauthExpires", "4102444800"),
                ("OauthHMAC", "AAAA"),
                ("AccessToken", "other"),
                ("IdToken", "other"),
            ] {
                let browser = Browser::new(encrypted).log_in(&session());
                let browser = browser.change(name, value);
                assert_eq!(browser.read(), SessionState::None, "{name}");
            }
        }
    }

    #[test]
    fn changed_cookies_are_no_session_without_the_id_token_either() {
        let with_id = session();
        let without_id = UserSession {
            id_token: None,
            ..session()
        };
        for (encrypted, written) in [true, false]
            .into_iter()
            .flat_map(|encrypted| [(encrypted, &with_id), (encrypted, &without_id)])
        {
            for (name, value) in [
                ("OauthExpires", "4102444800"),
                ("OauthHMAC", "AAAA"),
                ("AccessToken", "other"),
            ] {
                let browser = Browser::new(encrypted).log_in(written);
                let browser = browser.forget("IdToken").change(name, value);
                assert_eq!(browser.read(), SessionState::None, "{name}");
            }
        }
    }

    #[test]
    fn the_id_token_of_another_session_is_not_used_beside_a_refresh_token() {
        for encrypted in [true, false] {
            let mut other = session();
            other.id_token = Some(SecretText::new("of-another-user"));
            let other = Browser::new(encrypted).log_in(&other);
            let foreign = other.jar.iter().find(|(name, _)| name == "IdToken-0a");
            let own = Browser::new(encrypted).log_in(&session()).forget("Oauth");

            let kept = own.read();
            let mut mixed = own.forget("IdToken");
            mixed.jar.push(foreign.unwrap().clone());

            let id_token = |state| match state {
                SessionState::Expired { id_token, .. } => id_token,
                other => panic!("{other:?}"),
            };
            assert_eq!(id_token(kept), session().id_token);
            assert_eq!(id_token(mixed.read()), None);
        }
    }

    #[test]
    fn a_session_of_a_host_is_not_one_of_the_domain_with_its_name() {
        let browser = Browser::new(true).log_in(&session());
        let pairs = browser
            .jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let line = pairs.collect::<Vec<_>>().join("; ");
        let headers = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
        let seal = SessionSeal {
            site: SessionSite::Domain("a.test"),
            ..browser.seal("a.test")
        };

        assert_eq!(seal.read(&CookieJar::of(&headers), NOW), SessionState::None);
    }

    #[test]
    fn a_session_is_not_valid_on_another_host() {
        let browser = Browser::new(true).log_in(&session());

        assert_eq!(browser.read_at("b.test", NOW), SessionState::None);
        let only_refresh = browser.forget("Oauth").forget("Access").forget("Id");
        assert_eq!(only_refresh.read_at("b.test", NOW), SessionState::None);
    }

    #[test]
    fn a_refresh_token_is_enough_once_the_browser_has_deleted_the_rest() {
        for gone in ["OauthHMAC", "AccessToken", "IdToken", "OauthExpires"] {
            let browser = Browser::new(true).log_in(&session()).forget(gone);
            let state = browser.read();
            assert!(matches!(state, SessionState::Expired { .. }), "{gone}");
        }
    }

    #[test]
    fn a_long_token_is_split_and_one_that_is_too_long_is_refused() {
        let long = UserSession {
            access_token: SecretText::new("x".repeat(9_000)),
            ..session()
        };
        let browser = Browser::new(true).log_in(&long);
        let names = browser.jar.iter().map(|(name, _)| name.as_str());
        assert!(names.clone().any(|name| name == "AccessToken-0a.3"));
        assert!(
            matches!(browser.read(), SessionState::Valid(s) if s.access_token == long.access_token)
        );

        let too_long = UserSession {
            access_token: SecretText::new("x".repeat(30_000)),
            ..session()
        };
        let written = browser
            .seal("a.test")
            .write(&CookieJar::default(), &too_long, NOW);
        assert_eq!(written, None);
    }

    proptest! {
        /// Cookies that the gateway has not written are never a session.
        #[test]
        fn arbitrary_cookies_are_no_session(
            values in prop::collection::vec("[!-:<-~]{1,60}", 5),
            encrypted: bool,
        ) {
            let mut browser = Browser::new(encrypted);
            let names = ["OauthHMAC-0a", "OauthExpires-0a", "AccessToken-0a", "IdToken-0a", "RefreshToken-0a"];
            for (name, value) in names.iter().zip(values) {
                browser.jar.push(((*name).to_owned(), value));
            }

            prop_assert_eq!(browser.read(), SessionState::None);
        }
    }
}
