//! What an error of hyper's means for a request.

use std::error::Error as _;
use std::fmt;
use std::io;

use crate::body::BoxError;
use crate::error::Error;

/// The client's body failed: marks the error on its way through hyper.
#[derive(Debug)]
pub(crate) struct ClientBody(pub(crate) BoxError);

impl fmt::Display for ClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body failed")
    }
}

impl std::error::Error for ClientBody {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// Why there is no response: `error` came before its head.
pub(super) fn classify(error: hyper::Error) -> Error {
    if find::<ClientBody>(&error).is_some() || error.is_body_write_aborted() {
        return Error::RequestBody(Box::new(error));
    }
    if let Some(reset) = find::<h2::Error>(&error) {
        return match reset.reason() {
            Some(h2::Reason::REFUSED_STREAM) => Error::Refused(Some(error)),
            // Only requests that the backend has not looked at end like this (RFC 9113, section 6.8).
            _ if reset.is_go_away() && reset.is_remote() => Error::Refused(Some(error)),
            _ if reset.is_io() => Error::Terminated(Some(error)),
            _ if reset.is_reset() && reset.is_remote() => Error::RemoteReset(Some(error)),
            _ => Error::Protocol(Some(error)),
        };
    }
    let io = find::<io::Error>(&error);
    let terminated = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        // It answers no PING.
        || error.is_timeout()
        || io.is_some_and(|error| error.kind() != io::ErrorKind::InvalidData);
    if terminated {
        Error::Terminated(Some(error))
    } else {
        Error::Protocol(Some(error))
    }
}

/// The first error of this type among `error`'s causes.
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
