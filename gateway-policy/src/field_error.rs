//! Why a policy cannot be carried out.

use std::fmt;

/// A field that asks for what the gateway cannot do, or does not do yet.
///
/// It makes the whole policy invalid: `Accepted=False`, reason `Invalid`, and the routes that the
/// policy covers fail closed. Leaving the field out of account would be a gateway that is less
/// protected than its configuration says.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct FieldError {
    /// The path of the field, from `spec` on.
    pub field: String,
    /// What is wrong, as a sentence of its own.
    pub message: String,
}

impl FieldError {
    /// A field whose value does not do.
    pub(crate) fn invalid(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        let field = field.into();
        let message = format!("{field}: {reason}");
        Self { field, message }
    }

    /// A field that is not supported.
    pub(crate) fn unsupported(field: impl Into<String>) -> Self {
        let field = field.into();
        let message = format!("{field} is not supported");
        Self { field, message }
    }

    /// A field with a word that has no meaning there.
    pub(crate) fn unknown_value(field: &str, word: &str) -> Self {
        Self::invalid(field, format_args!("Unsupported value: {word:?}"))
    }

    /// Refuses `field` as not supported unless `holds`.
    pub(crate) fn require(holds: bool, field: &str) -> Result<(), Self> {
        if holds {
            Ok(())
        } else {
            Err(Self::unsupported(field))
        }
    }
}
