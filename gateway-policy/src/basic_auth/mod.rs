//! Basic authentication (SecurityPolicy `basicAuth`; RFC 7617).
//!
//! ```text
//! Authorization: Basic BASE64(user ":" password) ──> user of the `.htpasswd` file? ──> its hash verifies?
//! ```
//!
//! The bodies of local replies are Envoy's. The scheme is case-insensitive (RFC 9110, section 11.1). The
//! header field for the user's name is always removed from the client's request, because only the gateway may
//! set it.
//!
//! ```
//! use towergate_policy::basic_auth::{BasicAuthentication, Users};
//! use towergate_policy::secret::SecretText;
//!
//! let rule = BasicAuthentication {
//!     users: SecretText::new("ada:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ="),
//!     forward_user_name: None,
//!     realm: None,
//! };
//! let users = Users::parse(rule.users.expose())?;
//! let (head, ()) = http::Request::get("/")
//!     .header("authorization", "Basic YWRhOnBhc3M=")
//!     .body(())?
//!     .into_parts();
//!
//! assert_eq!(users.authenticate(&head.headers)?.name(), "ada");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod password;
mod policy;
mod users;

pub use policy::BasicAuthPolicy;
pub use users::{Users, UsersError};

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use towergate_core::plan::Text;

use self::password::PasswordHash;
use crate::secret::SecretText;

/// The users whose requests are admitted.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct BasicAuthentication {
    /// The text of an `.htpasswd` file.
    pub users: SecretText,
    /// The header field in which the backend receives the user's name.
    pub forward_user_name: Option<Text<HeaderName>>,
    /// Realm of the challenge. Default: the URL of the request without its query, as in Envoy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
}

/// The reason why a request is rejected. Messages are those of Envoy, where Envoy has the same reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BasicAuthError {
    /// No `Authorization` field.
    #[error("User authentication failed. Missing username and password.")]
    Missing,
    /// The credentials have another scheme than `Basic`.
    #[error("User authentication failed. Expected 'Basic' authentication scheme.")]
    OtherScheme,
    /// The credentials are not base64 of `user:password`.
    #[error("User authentication failed. Invalid basic credential format.")]
    BadFormat,
    /// The user does not exist, or the password is wrong.
    #[error("User authentication failed. Invalid username/password combination.")]
    Rejected,
    /// Too many requests wait for the verification of a password.
    #[error("Too many passwords are being verified.")]
    Overloaded,
}

impl BasicAuthError {
    /// The details of the response code in the access log. They are those of Envoy, except for
    /// [`Self::Overloaded`].
    pub const fn details(self) -> &'static str {
        match self {
            Self::Missing => "no_credential_for_basic_auth",
            Self::OtherScheme => "invalid_scheme_for_basic_auth",
            Self::BadFormat => "invalid_format_for_basic_auth",
            Self::Rejected => "invalid_credential_for_basic_auth",
            Self::Overloaded => "basic_auth_overloaded",
        }
    }
}

/// A name and a password that a client sent.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    decoded: Vec<u8>,
    colon: usize,
}

impl Credentials {
    /// The credentials in `Authorization`.
    ///
    /// # Errors
    /// If the field is missing, occurs twice, or has no Basic credentials.
    pub fn of(headers: &HeaderMap) -> Result<Self, BasicAuthError> {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let line = lines.next().ok_or(BasicAuthError::Missing)?;
        if lines.next().is_some() {
            return Err(BasicAuthError::BadFormat);
        }
        let line = line.as_bytes();
        let (scheme, encoded) = line
            .split_at_checked(6)
            .ok_or(BasicAuthError::OtherScheme)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return Err(BasicAuthError::OtherScheme);
        }
        let decoded = BASE64
            .decode(encoded)
            .or_else(|_| BASE64_NOPAD.decode(encoded));
        let decoded = decoded.map_err(|_| BasicAuthError::BadFormat)?;
        let colon = decoded.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or(BasicAuthError::BadFormat)?;
        Ok(Self { decoded, colon })
    }

    fn user(&self) -> &[u8] {
        &self.decoded[..self.colon]
    }

    fn password(&self) -> &[u8] {
        &self.decoded[self.colon + 1..]
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// The name of a user whose password was verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthenticatedUser(String);

impl AuthenticatedUser {
    /// The name of the user.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Users {
    /// The user of a request with these header fields. The verification of bcrypt and `$apr1$` hashes takes
    /// milliseconds. On a thread that serves other requests, check [`is_slow`](Self::is_slow) first.
    ///
    /// # Errors
    /// The reason for which the request is rejected.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<AuthenticatedUser, BasicAuthError> {
        self.verify(&Credentials::of(headers)?)
    }

    /// The user with these credentials. For an unknown name, a password is checked against the slowest hash
    /// of the file, so the duration does not reveal which names exist.
    ///
    /// # Errors
    /// [`BasicAuthError::Rejected`] if the user does not exist or the password is wrong.
    pub fn verify(&self, credentials: &Credentials) -> Result<AuthenticatedUser, BasicAuthError> {
        let known = self.hash(credentials.user());
        let hash = known.or(self.slowest());
        let verified = hash.is_some_and(|hash| hash.verify(credentials.password()));
        let name = std::str::from_utf8(credentials.user()).ok();
        let name = name.filter(|_| verified && known.is_some());
        let name = name.ok_or(BasicAuthError::Rejected)?;
        Ok(AuthenticatedUser(name.to_owned()))
    }

    /// Whether [`verify`](Self::verify) takes milliseconds for these credentials.
    pub fn is_slow(&self, credentials: &Credentials) -> bool {
        let hash = self.hash(credentials.user()).or(self.slowest());
        hash.is_some_and(PasswordHash::is_slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticate(values: &[&str]) -> Result<String, BasicAuthError> {
        let users = Users::parse(
            "ada:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\ncarl:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        );
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        let user = users.unwrap().authenticate(&headers)?;
        Ok(user.name().to_owned())
    }

    #[test]
    fn requests_are_answered_as_recorded() {
        use BasicAuthError::{BadFormat, Missing, OtherScheme, Rejected};
        for (values, expected) in [
            (vec![], Err(Missing)),
            (vec!["Basic YWRhOnBhc3M="], Ok("ada")),
            (vec!["basic YWRhOnBhc3M="], Ok("ada")),
            (vec!["Basic YWRhOnBhc3M"], Ok("ada")),
            (vec!["Basic Y2FybDo="], Ok("carl")),
            (vec!["Basic QWRhOnBhc3M="], Err(Rejected)),
            (vec!["Basic YWRhADpwYXNz"], Err(Rejected)),
            (vec!["Basic "], Err(OtherScheme)),
            (vec!["Basic"], Err(OtherScheme)),
            (vec!["Bearer YWRhOnBhc3M="], Err(OtherScheme)),
            (vec!["Basic\tYWRhOnBhc3M="], Err(OtherScheme)),
            (vec!["Basic  YWRhOnBhc3M="], Err(BadFormat)),
            (vec!["Basic YWRh"], Err(BadFormat)),
            (
                vec!["Basic YWRhOnBhc3M=", "Basic YWRhOnBhc3M="],
                Err(BadFormat),
            ),
        ] {
            // A field value has no leading or trailing spaces: `Basic ` arrives as `Basic`.
            let values: Vec<_> = values.iter().map(|value| value.trim()).collect();
            assert_eq!(
                authenticate(&values),
                expected.map(str::to_owned),
                "{values:?}"
            );
        }
    }
}
