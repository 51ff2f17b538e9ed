//! Errors of formats.

/// Reason why a string is not a valid format.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// An operator is not supported.
    #[error("command operator {0} is not supported")]
    Unknown(String),
    /// The arguments of an operator are invalid or not supported.
    #[error("arguments of command operator {0} are not supported")]
    Arguments(String),
    /// The string contains a `%` that does not begin an operator.
    #[error("{0:?} has a % that starts no command operator; write %% for a literal %")]
    Unfinished(String),
    /// The string is not a valid header value.
    #[error("{0:?} is not a valid header value")]
    HeaderValue(String),
}
