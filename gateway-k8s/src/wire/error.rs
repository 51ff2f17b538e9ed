//! Errors of the wire protocol.

use std::fmt;

use super::Kind;

/// An error in encoding or decoding a message. Its text contains no content of a plan.
#[derive(Debug)]
#[non_exhaustive]
pub enum WireError {
    /// A frame of an unknown kind.
    UnknownKind(u8),
    /// A frame of a kind that is not allowed at this point.
    Unexpected(Kind),
    /// A frame exceeds the maximum length. The value is the length of the frame in bytes.
    TooLong(usize),
    /// The payload of a frame does not match its kind. The numbers are the line and column of the error.
    Malformed(Kind, usize, usize),
    /// A table index that is out of range, or refers to a part of another kind.
    NoSuchPart(usize),
    /// A value of the plan has no JSON form.
    Unwritable(serde_json::Error),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "unknown message kind {kind}"),
            Self::Unexpected(kind) => write!(f, "unexpected message {kind:?}"),
            Self::TooLong(length) => write!(f, "message of {length} bytes is too long"),
            Self::Malformed(kind, line, column) => {
                write!(f, "message {kind:?} is malformed at {line}:{column}")
            }
            Self::NoSuchPart(place) => write!(f, "the plan has no part {place}"),
            Self::Unwritable(_) => f.write_str("the plan cannot be encoded"),
        }
    }
}

impl std::error::Error for WireError {}

impl WireError {
    /// Keeps only the position of the error: its text may quote a private key.
    pub(super) fn malformed(kind: Kind, error: &serde_json::Error) -> Self {
        Self::Malformed(kind, error.line(), error.column())
    }
}
