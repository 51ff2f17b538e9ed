//! Clients that disconnect before their request is complete.
//!
//! If a request body ends in an error, either the body is malformed or the client has disconnected. This
//! module distinguishes the two cases. If the client has disconnected, the access log entry of the request
//! has no status, as in Envoy.

use std::error::Error as StdError;
use std::io;

use http::StatusCode;

use crate::{Error, LocalReply};

/// The way in which a client aborted its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClientAbort {
    /// The connection ended.
    Disconnected,
    /// The client reset the HTTP/2 stream (RFC 9113, section 6.4).
    StreamReset,
    /// The gateway reset the HTTP/2 stream, because the length of the body differs from its `content-length`
    /// (RFC 9113, section 8.1.1).
    Malformed,
    /// The gateway ended the HTTP/2 connection because of a connection error that the client caused (RFC
    /// 9113, section 5.4.1).
    ConnectionError,
}

/// Error of a request body: the client has reset the stream without an error code.
#[derive(Debug, thiserror::Error)]
#[error("the client has reset the stream")]
pub(crate) struct ClientReset;

impl ClientAbort {
    const ALL: [Self; 4] = [
        Self::Disconnected,
        Self::StreamReset,
        Self::Malformed,
        Self::ConnectionError,
    ];

    /// The way in which the client aborted the request. `error` is the error of the request body. `None` if
    /// the error has another cause.
    pub(crate) fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let causes = std::iter::successors(Some(error), |error| (*error).source());
        // If the error contains an [`Error`] of the gateway, the sources of that error concern the connection
        // to a backend and not the client.
        let mut causes = causes.take_while(|cause| !cause.is::<Error>());
        causes.find_map(Self::of_cause)
    }

    fn of_cause(cause: &(dyn StdError + 'static)) -> Option<Self> {
        use io::ErrorKind as K;
        if cause.is::<ClientReset>() {
            return Some(Self::StreamReset);
        }
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            return if error.is_reset() && error.is_remote() {
                Some(Self::StreamReset)
            } else if error.is_reset() && error.is_library() {
                Some(Self::Malformed)
            } else if error.is_go_away() && error.is_library() {
                Some(Self::ConnectionError)
            } else if error.is_io() || error.is_go_away() && error.is_remote() {
                Some(Self::Disconnected)
            } else {
                None
            };
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let left = matches!(
                error.kind(),
                K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe
            );
            return left.then_some(Self::Disconnected);
        }
        let error = cause.downcast_ref::<hyper::Error>()?;
        error.is_incomplete_message().then_some(Self::Disconnected)
    }

    /// Response flag and details for the access log.
    pub(crate) fn outcome(self) -> (&'static str, &'static str) {
        match self {
            Self::Disconnected => ("DC", "downstream_remote_disconnect"),
            Self::StreamReset => ("DR", "http2.remote_reset"),
            Self::Malformed => ("DPE", "http2.remote_reset"),
            Self::ConnectionError => ("DPE", "http2.protocol_error"),
        }
    }

    /// Whether `reply` is the reply for a client that has disconnected.
    pub(crate) fn is_reply(reply: &LocalReply) -> bool {
        Self::ALL
            .iter()
            .any(|abort| abort.outcome() == (reply.flag, &*reply.details))
    }

    /// The local reply for the access log. Its flag and details are logged; the client does not receive the
    /// reply.
    pub(crate) fn reply(self) -> LocalReply {
        let (flag, details) = self.outcome();
        LocalReply::new(StatusCode::BAD_REQUEST, details)
            .with_body("Bad Request")
            .with_flag(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: impl StdError + 'static) -> Option<ClientAbort> {
        ClientAbort::of(&error)
    }

    #[test]
    fn a_body_that_its_client_did_not_complete_is_not_malformed() {
        let io = |kind| of(io::Error::from(kind));

        assert_eq!(
            io(io::ErrorKind::ConnectionReset),
            Some(ClientAbort::Disconnected)
        );
        assert_eq!(
            io(io::ErrorKind::UnexpectedEof),
            Some(ClientAbort::Disconnected)
        );
        assert_eq!(io(io::ErrorKind::InvalidData), None, "a malformed chunk");
        assert_eq!(of(ClientReset), Some(ClientAbort::StreamReset));
        assert_eq!(of(h2::Error::from(h2::Reason::PROTOCOL_ERROR)), None);
    }

    #[test]
    fn only_the_replies_to_clients_that_left_are_recognized() {
        for abort in ClientAbort::ALL {
            assert!(ClientAbort::is_reply(&abort.reply()));
        }
        let malformed = LocalReply::new(StatusCode::BAD_REQUEST, "http1.codec_error");
        assert!(!ClientAbort::is_reply(&malformed.with_flag("DPE")));
    }

    #[test]
    fn an_error_of_a_backend_says_nothing_about_the_client() {
        let io = io::Error::from(io::ErrorKind::ConnectionReset);

        assert_eq!(of(Error::Connect("127.0.0.1:1".parse().unwrap(), io)), None);
    }
}
