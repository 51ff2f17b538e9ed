//! Reasons why a login fails.

use std::borrow::Cow;

use http::StatusCode;
use towergate_core::LocalReply;

use super::IdTokenError;
use super::state::StateError;

/// The reason why a login or a refresh fails. Messages are those of Envoy, where Envoy has the same reason.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// The request has no session and matches `denyRedirect`.
    #[error("Unauthorized, and redirecting to OAuth server is not allowed: {0}")]
    RedirectDenied(String),
    /// The request has no host, so there is no URL to return to.
    #[error("the request has no host")]
    NoHost,
    /// The provider reports an error in the callback.
    #[error("OAuth server returned an error: {0}")]
    Provider(String),
    /// The callback names another issuer.
    #[error("the callback is of another issuer")]
    Issuer,
    /// The callback has no code or no state.
    #[error("Code or state query param does not exist in the callback request")]
    NoCode,
    /// The state of the callback is not JSON.
    #[error("State query param is not a valid JSON: {0}")]
    StateNotJson(String),
    /// The state of the callback lacks the URL, the token or the name of the login.
    #[error("State query param does not contain url or CSRF token")]
    StateIncomplete,
    /// The callback is not from the browser that began the login, or the login has expired.
    #[error("CSRF token validation failed")]
    Csrf,
    /// The URL in the state is neither on the host of the callback nor within the cookie domain.
    #[error("State URL is not on the host of the callback")]
    StateUrl,
    /// The cookie with the PKCE verifier is missing, or was changed.
    #[error("Code verifier is missing or invalid in the request")]
    Verifier,
    /// The token endpoint returned a status other than 200, with this error code.
    #[error("Failed to get access token: response code: {status}, response body: {body}")]
    TokenStatus {
        /// Status of the response.
        status: u16,
        /// Error code, as JSON.
        body: String,
    },
    /// The response of the token endpoint does not conform to RFC 6749, section 5.1.
    #[error("Failed to parse oauth response body")]
    TokenBody,
    /// The response has no access token.
    #[error("No access token after asyncGetAccessToken")]
    NoAccessToken,
    /// The response has no lifetime, and there is no default.
    #[error("No default or explicit access token expiration after asyncGetAccessToken")]
    NoLifetime,
    /// The ID token is not valid.
    #[error("ID token is invalid: {0}")]
    IdToken(#[from] IdTokenError),
    /// A token is too long for cookies, or contains characters that are not allowed in cookies.
    #[error("a token cannot be kept in cookies")]
    TokenTooLong,
    /// The provider cannot be reached, or its discovery document cannot be read. The string is the cause,
    /// which is logged but not sent to the client. If it is empty, the cause of the last fetch is logged.
    #[error("the provider is not available")]
    Unavailable(String),
    /// Random numbers or keys are not available.
    #[error("the session cannot be sealed")]
    Seal,
}

impl OidcError {
    /// Status of the reply.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Seal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::RedirectDenied(_)
            | Self::Provider(_)
            | Self::Issuer
            | Self::NoCode
            | Self::StateNotJson(_)
            | Self::StateIncomplete
            | Self::Csrf
            | Self::StateUrl
            | Self::Verifier
            | Self::TokenStatus { .. }
            | Self::TokenBody
            | Self::NoAccessToken
            | Self::NoLifetime
            | Self::IdToken(_)
            | Self::TokenTooLong => StatusCode::UNAUTHORIZED,
        }
    }

    /// The reply to the client, which does not reveal the reason.
    pub fn reply(&self) -> LocalReply {
        let details = self.to_string().replace(' ', "_");
        LocalReply::new(self.status(), Cow::Owned(details)).with_body("OAuth flow failed.")
    }
}

impl From<StateError> for OidcError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::NotJson(text) => Self::StateNotJson(text),
            StateError::Incomplete => Self::StateIncomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_has_the_reason_in_the_log_only() {
        let reply = OidcError::RedirectDenied("/a".to_owned()).reply();

        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.body, "OAuth flow failed.");
        let details = "Unauthorized,_and_redirecting_to_OAuth_server_is_not_allowed:_/a";
        assert_eq!(reply.details, details);
    }
}
