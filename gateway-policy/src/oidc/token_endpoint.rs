//! Calls of the token endpoint (RFC 6749, sections 4.1.3 and 6).

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::login::encoded;
use super::{OidcAuthentication, OidcError};
use crate::secret::SecretText;

/// A grant of the token endpoint.
#[derive(Clone, Debug)]
pub(super) enum TokenGrant<'r> {
    /// A code, for the tokens of a login.
    Code {
        code: &'r str,
        redirect_uri: &'r str,
        verifier: &'r str,
    },
    /// A refresh token, for new tokens of a session.
    Refresh(&'r str),
}

/// The tokens that a provider has issued.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct IssuedTokens {
    pub(super) access_token: SecretText,
    pub(super) id_token: Option<SecretText>,
    pub(super) refresh_token: Option<SecretText>,
    /// Seconds for which the access token is valid.
    pub(super) expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct TokenDocument {
    access_token: Option<String>,
    token_type: Option<String>,
    id_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<Value>,
}

impl TokenGrant<'_> {
    /// The request for this grant. `None` if the URL or the client ID cannot be part of a request.
    pub(super) fn request(&self, rule: &OidcAuthentication, url: &str) -> Option<Request<Bytes>> {
        let form = match self {
            Self::Code {
                code,
                redirect_uri,
                verifier,
            } => format!(
                "grant_type=authorization_code&code={}&redirect_uri={}&code_verifier={}",
                encoded(code),
                encoded(redirect_uri),
                encoded(verifier)
            ),
            Self::Refresh(token) => {
                format!("grant_type=refresh_token&refresh_token={}", encoded(token))
            }
        };
        let request = Request::post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, credentials(rule)?);
        request.body(Bytes::from(form)).ok()
    }
}

/// The client's credentials. ID and secret are encoded before they are joined (RFC 6749, section 2.3.1).
fn credentials(rule: &OidcAuthentication) -> Option<HeaderValue> {
    let secret = rule.client_secret.expose();
    let pair = format!("{}:{}", encoded(&rule.client_id), encoded(secret));
    let text = format!("Basic {}", BASE64.encode(pair.as_bytes()));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The tokens in a response. From an error response, only the error code is read.
pub(super) fn read_tokens(response: &Response<Bytes>) -> Result<IssuedTokens, OidcError> {
    if response.status() != StatusCode::OK {
        return Err(OidcError::TokenStatus {
            status: response.status().as_u16(),
            body: error_code(response.body()),
        });
    }
    let document: Result<TokenDocument, _> = serde_json::from_slice(response.body());
    let document = document.map_err(|_| OidcError::TokenBody)?;
    let bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
    if !document.token_type.as_ref().is_none_or(bearer) {
        return Err(OidcError::TokenBody);
    }
    let text = |token: Option<String>| token.filter(|t| !t.is_empty()).map(SecretText::new);
    Ok(IssuedTokens {
        access_token: text(document.access_token).ok_or(OidcError::NoAccessToken)?,
        id_token: text(document.id_token),
        refresh_token: text(document.refresh_token),
        expires_in: document.expires_in.as_ref().and_then(seconds),
    })
}

/// A number of seconds. Some providers send it as a string.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The member `error` of an error response (RFC 6749, section 5.2), if it contains only the
/// characters that the RFC allows.
fn error_code(body: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let code = document.as_ref().and_then(|d| d.get("error")?.as_str());
    let plain = |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_graphic());
    code.filter(plain)
        .map_or_else(String::new, |code| format!("{{\"error\": \"{code}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &'static str) -> Result<IssuedTokens, OidcError> {
        let response = Response::builder().status(status);
        read_tokens(&response.body(Bytes::from_static(body.as_bytes())).unwrap())
    }

    #[test]
    fn tokens_are_read_with_a_lifetime_as_number_or_text() {
        for body in [
            r#"{"access_token": "a", "token_type": "bearer", "expires_in": 60, "id_token": "i"}"#,
            r#"{"access_token": "a", "expires_in": "60", "id_token": "i", "refresh_token": ""}"#,
        ] {
            let tokens = read(200, body).unwrap();
            assert_eq!(tokens.access_token.expose(), "a");
            assert_eq!(tokens.expires_in, Some(60));
            assert_eq!(tokens.refresh_token, None);
        }
    }

    #[test]
    fn an_error_has_the_error_code_of_the_response_and_no_token() {
        let error = read(
            400,
            r#"{"error": "invalid_grant", "access_token": "secret"}"#,
        );
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with(r#"response code: 400, response body: {"error": "invalid_grant"}"#));
        let error = read(500, "the secret is x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_response_that_is_no_token_response_is_an_error() {
        assert_eq!(read(200, "{nonsense"), Err(OidcError::TokenBody));
        assert_eq!(read(200, "{}"), Err(OidcError::NoAccessToken));
        let other = read(200, r#"{"access_token": "a", "token_type": "DPoP"}"#);
        assert_eq!(other, Err(OidcError::TokenBody));
    }
}
