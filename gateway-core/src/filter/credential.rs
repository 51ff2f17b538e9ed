//! A credential of the gateway for one backend (Envoy Gateway `HTTPRouteFilter.credentialInjection`).

use std::fmt;
use std::str::FromStr;

use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// A header field with a credential. It is added after all edits of the request and is not sent to mirrors.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct CredentialHeader {
    /// Name of the field.
    pub header: Text<HeaderName>,
    /// Value of the field. Code that prints plans omits members with the name `secret`.
    pub secret: SecretHeaderValue,
    /// Whether a value from the client is replaced. If false, a value from the client is kept and no
    /// credential is added.
    pub overwrite: bool,
}

/// A header value that is kept secret: its `Debug` output does not contain it.
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHeaderValue(HeaderValue);

impl SecretHeaderValue {
    /// The value, which is marked as sensitive.
    pub fn expose(&self) -> &HeaderValue {
        &self.0
    }
}

impl FromStr for SecretHeaderValue {
    type Err = InvalidHeaderValue;

    fn from_str(text: &str) -> Result<Self, InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(text)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl TryFrom<String> for SecretHeaderValue {
    type Error = InvalidHeaderValue;

    fn try_from(text: String) -> Result<Self, InvalidHeaderValue> {
        text.parse()
    }
}

impl From<SecretHeaderValue> for String {
    fn from(value: SecretHeaderValue) -> Self {
        String::from_utf8_lossy(value.0.as_bytes()).into_owned()
    }
}

impl fmt::Debug for SecretHeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHeaderValue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_value_and_serde_keeps_it() {
        let credential = CredentialHeader {
            header: HeaderName::from_static("x-key").into(),
            secret: "own".parse().unwrap(),
            overwrite: true,
        };

        let text = serde_json::to_string(&credential).unwrap();

        assert!(!format!("{credential:?}").contains("own"));
        assert_eq!(
            serde_json::from_str::<CredentialHeader>(&text).unwrap(),
            credential
        );
    }
}
