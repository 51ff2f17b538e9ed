//! A session: the tokens of a user, and the cookies that contain them.
//!
//! The signature covers host, end, access token and the digest of the ID token together, so cookies of
//! different sessions cannot be mixed.
//!
//! Browsers delete the signature and the access token when the access token expires. The refresh token is
//! therefore sealed in a separate cookie, together with its own expiry time and the digest of the session's
//! ID token. The digest has two purposes: an ID token of another session is not accepted with the refresh
//! token, and the signature can be verified after the browser has deleted the ID token.

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
    /// An expired session, with the token that renews it. `id_token` is the last ID token, if it is still
    /// available.
    Expired {
        refresh_token: RefreshToken,
        id_token: Option<SecretText>,
    },
}

/// Scope of a session. A session for a host is not valid for the domain of the same name, and vice versa.
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
    /// Scope in which the session is valid.
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
            // The ID token may expire before the other cookies.
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
                // A cookie was changed, or the cookies are from different sessions.
                return SessionState::None;
            }
        }
        let Some((refresh_token, own_id)) = self.refresh_token(jar, now) else {
            return SessionState::None;
        };
        // After the signature has expired, the ID token is authenticated by its digest in the refresh token
        // cookie.
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

    /// The refresh token, and the digest of the ID token cookie of its session.
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

    /// The `Set-Cookie` fields of a session. `None` if a token is too long, or contains characters that are
    /// not allowed in a cookie.
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

    /// The `Set-Cookie` fields that delete the cookies of a session.
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

/// The digest of an ID token cookie, in base64url. `-` if there is no ID token.
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
mod tests;
