//! The error of a field that the gateway cannot apply.

use std::fmt::Display;

use crate::check::SchemaViolation;

/// A field that is not supported, or whose value is invalid.
///
/// One such field makes the whole policy invalid: `Accepted=False`, reason `Invalid`, and the routes that the
/// policy covers fail closed. If the field were skipped, the gateway would have less protection than
/// configured.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct FieldError {
    /// Path of the field, starting with `spec`.
    pub field: String,
    /// Complete error message, which contains the path of the field.
    pub message: String,
}

impl FieldError {
    /// A field whose value is invalid for `reason`.
    pub(crate) fn invalid(field: impl Display, reason: impl Display) -> Self {
        let field = field.to_string();
        let message = format!("{field}: {reason}");
        Self { field, message }
    }

    /// A field that is not supported.
    pub(crate) fn unsupported(field: impl Display) -> Self {
        let field = field.to_string();
        let message = format!("{field} is not supported");
        Self { field, message }
    }

    /// A value that the schema allows and the gateway does not support.
    pub(crate) fn unsupported_value(field: impl Display, value: &str) -> Self {
        Self::invalid(field, format_args!("{value} is not supported"))
    }

    /// A value that is not in the schema's enumeration.
    pub(crate) fn unknown_value(field: impl Display, value: &str) -> Self {
        Self::invalid(field, format_args!("Unsupported value: {value:?}"))
    }
}

impl From<SchemaViolation> for FieldError {
    fn from(violation: SchemaViolation) -> Self {
        let message = violation.to_string();
        Self {
            field: violation.field,
            message,
        }
    }
}
