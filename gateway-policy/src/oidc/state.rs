//! The `state` of a login: the URL where it began, and a token that binds the callback to the browser that
//! began it.
//!
//! ```text
//! state      = BASE64URL({"url": …, "csrf_token": T, "flow_id": F})
//! T          = RANDOM "." END "." HMAC(RANDOM, END, F, url)
//! cookie     OauthNonce-S.F = T
//! ```
//!
//! The signature covers the URL, so a state with another URL is not accepted. This holds even if an attacker
//! can set cookies in the browser.

use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::SessionKeys;
use super::seal::{random_flow, random_text};

/// The value that the provider returns unchanged in the callback.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct LoginState {
    /// URL of the request that began the login.
    pub(super) url: String,
    /// Token against request forgery.
    csrf_token: String,
    /// Name of the login.
    pub(super) flow_id: String,
}

/// The reason why a string is not a valid state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum StateError {
    /// The string is not JSON. Contains the start of the string.
    NotJson(String),
    /// A member is missing or empty.
    Incomplete,
}

/// Maximum length of the logged part of a state, in characters.
const LOGGED: usize = 64;

impl LoginState {
    /// A state for a login that begins at `url` and may take `lifetime`. `None` if random numbers
    /// are not available.
    pub(super) fn begin(
        url: String,
        keys: &SessionKeys,
        now: SystemTime,
        lifetime: Duration,
    ) -> Option<Self> {
        let flow_id = random_flow()?;
        let end = unix(now).saturating_add(lifetime.as_secs());
        let token = format!("{}.{end}", random_text()?);
        let signature = keys.sign("state", &signed(&token, &flow_id, &url))?;
        Some(Self {
            csrf_token: format!("{token}.{signature}"),
            url,
            flow_id,
        })
    }

    /// The value of the parameter `state`. `None` if the state cannot be encoded.
    pub(super) fn encode(&self) -> Option<String> {
        let json = serde_json::to_vec(self).ok()?;
        Some(BASE64URL_NOPAD.encode(&json))
    }

    /// Decodes a query parameter. The state is not verified.
    pub(super) fn decode(text: &str) -> Result<Self, StateError> {
        let bytes = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes());
        let bytes = bytes.unwrap_or_default();
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|_| StateError::NotJson(loggable(&bytes)))?;
        let state: Self = serde_json::from_value(value).map_err(|_| StateError::Incomplete)?;
        let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let complete = !state.url.is_empty()
            && !state.csrf_token.is_empty()
            && state.flow_id.len() == 16
            && state.flow_id.chars().all(hexadecimal);
        complete.then_some(state).ok_or(StateError::Incomplete)
    }

    /// The token against request forgery, which is also in a cookie.
    pub(super) fn csrf_token(&self) -> &str {
        &self.csrf_token
    }

    /// Whether the cookie of the login contains the token of the state.
    pub(super) fn is_of(&self, cookie: Option<&str>) -> bool {
        let cookie = cookie.unwrap_or_default().as_bytes();
        verify_slices_are_equal(cookie, self.csrf_token.as_bytes()).is_ok()
    }

    /// Whether one of `keys` has signed the state, and the login has not expired.
    pub(super) fn is_signed(&self, keys: &SessionKeys, now: SystemTime) -> bool {
        let Some((token, signature)) = self.csrf_token.rsplit_once('.') else {
            return false;
        };
        let end = token.rsplit_once('.').and_then(|(_, end)| end.parse().ok());
        end.is_some_and(|end: u64| unix(now) <= end)
            && keys.verify("state", &signed(token, &self.flow_id, &self.url), signature)
    }
}

fn signed(token: &str, flow: &str, url: &str) -> String {
    format!("{token}\n{flow}\n{url}")
}

/// Converts a time to seconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn loggable(bytes: &[u8]) -> String {
    let characters = bytes.iter().take(LOGGED).map(|byte| char::from(*byte));
    characters.filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(600);

    fn keys() -> SessionKeys {
        SessionKeys::derive(&["a secret of at least 32 bytes ..."], "policy").unwrap()
    }

    fn begin(url: &str) -> LoginState {
        LoginState::begin(url.to_owned(), &keys(), SystemTime::UNIX_EPOCH, TTL).unwrap()
    }

    #[test]
    fn a_state_is_accepted_with_its_cookie_until_its_end() {
        let state = begin("https://a.test/x");
        let text = state.encode().unwrap();

        let decoded = LoginState::decode(&text).unwrap();

        assert_eq!(decoded, state);
        assert!(decoded.is_of(Some(state.csrf_token())));
        assert!(decoded.is_signed(&keys(), SystemTime::UNIX_EPOCH + TTL));
        let late = SystemTime::UNIX_EPOCH + TTL + Duration::from_secs(1);
        assert!(!decoded.is_signed(&keys(), late));
    }

    #[test]
    fn a_state_with_another_url_or_login_is_not_signed() {
        let state = begin("https://a.test/x");
        let other_url = LoginState {
            url: "https://evil.test/".to_owned(),
            ..state.clone()
        };
        let other_login = LoginState {
            flow_id: "0".repeat(16),
            ..state.clone()
        };

        assert!(!other_url.is_signed(&keys(), SystemTime::UNIX_EPOCH));
        assert!(!other_login.is_signed(&keys(), SystemTime::UNIX_EPOCH));
        assert!(!state.is_of(None));
        assert!(!state.is_of(Some(begin("https://a.test/x").csrf_token())));
    }

    #[test]
    fn what_is_no_state_is_told_apart() {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let incomplete = [
            "{}",
            r#"{"url": "x"}"#,
            r#"{"url": "x", "csrf_token": "y", "flow_id": "short"}"#,
            r#"{"url": "x", "csrf_token": "y", "flow_id": "../../../../../.."}"#,
            "[]",
        ];
        for text in incomplete {
            let decoded = LoginState::decode(&encode(text));
            assert_eq!(decoded, Err(StateError::Incomplete), "{text}");
        }
        let not_json = LoginState::decode("abc");
        assert_eq!(not_json, Err(StateError::NotJson("i\u{b7}".to_owned())));
        assert_eq!(
            LoginState::decode("%%%"),
            Err(StateError::NotJson(String::new()))
        );
    }
}
