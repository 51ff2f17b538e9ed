//! Why bytes are no messages.

use std::fmt;

use super::Kind;

/// Why something cannot be sent or understood. The texts show nothing of a plan.
#[derive(Debug)]
#[non_exhaustive]
pub enum WireError {
    /// A frame of a kind that nobody knows.
    UnknownKind(u8),
    /// A frame of a kind that does not belong here.
    Unexpected(Kind),
    /// A frame is longer than any may be, in bytes.
    TooLong(usize),
    /// The text of a frame is not what its kind says; line and column.
    Malformed(Kind, usize, usize),
    /// A place in a table that is not there, or holds something else.
    NoSuchPart(usize),
    /// A value of the plan has no JSON form.
    Unwritable(serde_json::Error),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "a message of the unknown kind {kind}"),
            Self::Unexpected(kind) => write!(f, "an unexpected message: {kind:?}"),
            Self::TooLong(length) => write!(f, "a message of {length} bytes is too long"),
            Self::Malformed(kind, line, column) => {
                write!(f, "a message ({kind:?}) cannot be read, at {line}:{column}")
            }
            Self::NoSuchPart(place) => write!(f, "there is no such part of the plan: {place}"),
            Self::Unwritable(_) => f.write_str("the plan cannot be written"),
        }
    }
}

impl std::error::Error for WireError {}

impl WireError {
    /// Of the error, only the place is kept: its text may quote a private key.
    pub(super) fn malformed(kind: Kind, error: &serde_json::Error) -> Self {
        Self::Malformed(kind, error.line(), error.column())
    }
}
