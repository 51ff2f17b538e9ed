//! Validation of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7).

use std::time::SystemTime;

use serde_json::Value;

use super::SessionKeys;
use crate::jwt::{Claims, JwtError, KeySet, UnverifiedToken, check_claims};

/// The reason why an ID token is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdTokenError {
    /// The provider must issue an ID token, but the response contains none.
    #[error("it is missing")]
    Missing,
    /// The token is not a valid JSON Web Token, or a registered claim is invalid.
    #[error("{0}")]
    Token(#[from] JwtError),
    /// The token was issued to another client.
    #[error("it was issued to another client")]
    Audience,
    /// The token has no expiry time.
    #[error("it has no exp")]
    NoExpiry,
    /// The token was issued for another login.
    #[error("it was issued for another login")]
    Nonce,
    /// The user of the token is not the user of the session.
    #[error("its user differs from that of the session")]
    Subject,
    /// The keys of the provider are not available.
    #[error("the keys of the provider are not available")]
    NoKeys,
}

/// Required claims of an ID token.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdTokenRules<'r> {
    /// Client ID.
    pub(super) client_id: &'r str,
    /// Value of `iss`. `None`: `iss` is not checked, and `aud` may be absent.
    pub(super) issuer: Option<&'r str>,
    /// Session keys, and the token of the login to which the nonce belongs. `None`: the nonce is not checked.
    pub(super) login: Option<(&'r SessionKeys, &'r str)>,
    /// Value of `sub`. `None`: any user.
    pub(super) subject: Option<&'r str>,
    /// Time at which the token is checked.
    pub(super) now: SystemTime,
}

impl IdTokenRules<'_> {
    /// Checks the claims of a token. The signature is not checked.
    pub(super) fn check(&self, claims: &Claims) -> Result<(), IdTokenError> {
        check_claims(claims, self.issuer, &[], self.now)?;
        if claims.get("exp").is_none() {
            return Err(IdTokenError::NoExpiry);
        }
        let is_client = |value: &Value| value.as_str() == Some(self.client_id);
        let audience = match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().any(is_client),
            Some(value) => is_client(value),
            None => self.issuer.is_none(),
        };
        if !audience || !claims.get("azp").is_none_or(is_client) {
            return Err(IdTokenError::Audience);
        }
        if let Some((keys, login)) = self.login {
            let nonce = claims.get("nonce").and_then(Value::as_str);
            if !nonce.is_some_and(|nonce| keys.verify("nonce", login, nonce)) {
                return Err(IdTokenError::Nonce);
            }
        }
        let subject = claims.get("sub").and_then(Value::as_str);
        if self.subject.is_some() && self.subject != subject {
            return Err(IdTokenError::Subject);
        }
        Ok(())
    }
}

/// Checks the signature of a decoded token.
pub(super) fn check_signature(
    token: &UnverifiedToken<'_>,
    keys: Option<&KeySet>,
) -> Result<(), IdTokenError> {
    let keys = keys.ok_or(IdTokenError::NoKeys)?;
    keys.verify(token).map_err(IdTokenError::Token)
}

/// The claim `sub` of a token that was already verified.
pub(super) fn subject_of(token: &str) -> Option<String> {
    let token = UnverifiedToken::decode(token).ok()?;
    token.claims.get("sub")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn keys() -> SessionKeys {
        SessionKeys::derive(&["a secret of at least 32 bytes ..."], "policy").unwrap()
    }

    #[test]
    fn each_claim_that_does_not_hold_is_named() {
        let keys = keys();
        let rules = IdTokenRules {
            client_id: "client",
            issuer: Some("https://op.test"),
            login: Some((&keys, "login")),
            subject: Some("ada"),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
        };
        let good = json!({
            "iss": "https://op.test", "aud": ["client", "other"], "azp": "client", "sub": "ada",
            "exp": 2_000, "nonce": keys.sign("nonce", "login").unwrap(),
        });
        let check = |name: &str, value: Value| {
            let mut claims = good.as_object().unwrap().clone();
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.to_owned(), value);
            }
            rules.check(&claims)
        };

        assert_eq!(check("x", json!(1)), Ok(()));
        assert_eq!(check("aud", json!("client")), Ok(()));
        for (name, value, expected) in [
            (
                "iss",
                json!("https://evil.test"),
                IdTokenError::Token(JwtError::UnknownIssuer),
            ),
            ("exp", json!(900), IdTokenError::Token(JwtError::Expired)),
            ("exp", Value::Null, IdTokenError::NoExpiry),
            ("aud", json!("https://client"), IdTokenError::Audience),
            ("aud", Value::Null, IdTokenError::Audience),
            ("azp", json!("other"), IdTokenError::Audience),
            ("nonce", json!("other"), IdTokenError::Nonce),
            ("nonce", Value::Null, IdTokenError::Nonce),
            ("sub", json!("eve"), IdTokenError::Subject),
        ] {
            assert_eq!(check(name, value.clone()), Err(expected), "{name}: {value}");
        }
        let lenient = IdTokenRules {
            issuer: None,
            login: None,
            ..rules
        };
        let claims = |text: &str| serde_json::from_str::<Claims>(text).unwrap();
        let own = claims(r#"{"sub": "ada", "exp": 2000}"#);
        let other = claims(r#"{"sub": "ada", "exp": 2000, "aud": "other"}"#);
        assert_eq!(lenient.check(&own), Ok(()));
        assert_eq!(lenient.check(&other), Err(IdTokenError::Audience));
    }
}
