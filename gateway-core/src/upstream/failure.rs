//! Failures of a request, and classification of errors of hyper.

use std::error::Error as _;
use std::fmt;
use std::io;

use http::Request;
use http_body::Body as _;

use super::Upload;
use crate::body::BoxError;
use crate::error::{CodecFailure, Error};

/// Error of the client's request body. This wrapper identifies the error after it has passed through hyper.
#[derive(Debug)]
pub(crate) struct ClientBodyError(pub(crate) BoxError);

impl fmt::Display for ClientBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request body failed")
    }
}

impl std::error::Error for ClientBodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// Reason why no response was received.
pub(crate) enum SendFailure {
    /// The request may have reached the endpoint.
    Sent(Error),
    /// No byte of the request was sent, because the connection had ended before. The request is unchanged.
    Unsent,
    /// A reused connection ended before it received a byte of the response. The request can be repeated
    /// safely (see [`is_repeatable`]) and is unchanged.
    Stale,
}

impl SendFailure {
    /// Returns [`Self::Stale`] if the connection ended before a byte of the response was received and the
    /// request is `repeatable`.
    pub(super) fn if_stale(self, repeatable: bool) -> Self {
        match self {
            Self::Sent(Error::Terminated(_)) if repeatable => Self::Stale,
            other => other,
        }
    }
}

/// Whether a request may be sent again after its connection has ended: its method is idempotent (RFC 9110,
/// section 9.2.2) and it has no body.
pub(super) fn is_repeatable(request: &Request<Upload>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// Classifies an error of hyper that occurred before a response head was received.
pub(super) fn classify(error: hyper::Error) -> Error {
    if find::<ClientBodyError>(&error).is_some() || error.is_body_write_aborted() {
        return Error::RequestBody(Box::new(error));
    }
    if let Some(reset) = find::<h2::Error>(&error) {
        return match reset.reason() {
            Some(h2::Reason::REFUSED_STREAM) => Error::Refused(Some(CodecFailure::new(error))),
            // GOAWAY: the backend has not processed these requests (RFC 9113, section 6.8).
            _ if reset.is_go_away() && reset.is_remote() => {
                Error::Refused(Some(CodecFailure::new(error)))
            }
            _ if reset.is_io() => Error::Terminated(Some(CodecFailure::new(error))),
            _ if reset.is_reset() && reset.is_remote() => {
                Error::RemoteReset(Some(CodecFailure::new(error)))
            }
            _ => Error::Protocol(Some(CodecFailure::new(error))),
        };
    }
    let io = find::<io::Error>(&error);
    let terminated = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        // hyper reports a timeout if the backend did not acknowledge a PING.
        || error.is_timeout()
        || io.is_some_and(|error| error.kind() != io::ErrorKind::InvalidData);
    if terminated {
        Error::Terminated(Some(CodecFailure::new(error)))
    } else {
        Error::Protocol(Some(CodecFailure::new(error)))
    }
}

/// Returns the first error of type `T` in the source chain of `error`.
fn find<T: std::error::Error + 'static>(error: &hyper::Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
