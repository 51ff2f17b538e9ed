//! Reasons why a service returned no decision on a request.

use http::StatusCode;
use towergate_core::policy::CallError;

use crate::unary_call::UnaryCallError;

/// The reason why a service returned no decision on a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// There is no complete response.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The service returned this status, which neither allows nor denies the request.
    #[error("the service returned {0}")]
    Status(StatusCode),
    /// The gRPC call failed with this `grpc-status`.
    #[error("the gRPC call failed with status {0}")]
    Grpc(u16),
    /// The response is not a gRPC message.
    #[error("the response is not a gRPC message: {0}")]
    Framing(&'static str),
    /// The message cannot be decoded.
    #[error("the response cannot be decoded")]
    Message(#[from] prost::DecodeError),
    /// The service reported an error instead of a decision.
    #[error("the service reported an error")]
    Reported,
    /// The service changes the request in a way that is invalid.
    #[error("the service sets an invalid {0}")]
    Change(&'static str),
    /// The check request cannot be built.
    #[error("the request cannot be sent to the service: {0}")]
    Question(http::Error),
}

impl From<UnaryCallError> for ServiceError {
    fn from(error: UnaryCallError) -> Self {
        match error {
            UnaryCallError::Status(status) => Self::Status(status),
            UnaryCallError::Grpc(code) => Self::Grpc(code),
            UnaryCallError::Framing(reason) => Self::Framing(reason),
        }
    }
}
