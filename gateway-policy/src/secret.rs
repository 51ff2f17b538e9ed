//! Text that must not be printed.

use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// Text of a Secret in a plan. Its `Debug` output is empty. It is serialized, because data planes receive it,
/// in a member named `secret`. Code that prints plans omits members of this name.
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct SecretText {
    secret: String,
}

impl SecretText {
    /// Wraps `text`, so that `Debug` output does not contain it.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            secret: text.into(),
        }
    }

    /// A text for `owner` that is derived from `secret` by HMAC-SHA256, in base64. It reveals neither
    /// `secret` nor the text of another owner.
    pub fn derived(secret: &[u8], owner: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let text = format!("towergate derived secret\n{owner}");
        Self::new(BASE64.encode(hmac::sign(&key, text.as_bytes()).as_ref()))
    }

    /// The secret text.
    pub fn expose(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_text_depends_on_the_secret_and_the_owner() {
        let texts = [("a", "x"), ("a", "y"), ("b", "x")];
        let texts = texts.map(|(secret, owner)| SecretText::derived(secret.as_bytes(), owner));

        assert_eq!(texts[0], SecretText::derived(b"a", "x"));
        assert!(texts[0] != texts[1] && texts[0] != texts[2]);
        assert_eq!(texts[0].expose().len(), 44, "a digest of 32 bytes");
    }

    #[test]
    fn debug_output_has_no_text_and_serde_keeps_it() {
        let secret = SecretText::new("key-ada");

        assert_eq!(format!("{secret:?}"), "SecretText");
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<SecretText>(&text).unwrap(), secret);
    }
}
