//! Text that must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text of a Secret in a plan. Its `Debug` output is empty. It is serialized in a member named
/// `secret`, because data planes receive it. Code that prints plans omits members of that name.
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct SecretText {
    secret: String,
}

impl SecretText {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            secret: text.into(),
        }
    }

    /// The text.
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
    fn debug_output_has_no_text_and_serde_keeps_it() {
        let secret = SecretText::new("key-ada");

        assert_eq!(format!("{secret:?}"), "SecretText");
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<SecretText>(&text).unwrap(), secret);
    }
}
