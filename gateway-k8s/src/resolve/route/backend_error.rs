//! Errors of backendRefs.

use crate::status::RouteReason;

/// Error of a backendRef.
#[derive(Clone, Debug)]
pub(crate) struct BackendError {
    pub(super) reason: RouteReason,
    /// Error message: a clause without a full stop.
    pub(super) message: String,
}

/// An error of a backendRef.
pub(super) fn fault<T>(reason: RouteReason, message: String) -> Result<T, BackendError> {
    Err(BackendError { reason, message })
}

/// An error of the referenced Backend.
pub(super) fn invalid<T>(message: String) -> Result<T, BackendError> {
    fault(RouteReason::InvalidBackendRef, message)
}
