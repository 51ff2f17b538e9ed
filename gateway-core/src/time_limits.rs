//! The time limits of a request, from its head to the last byte of its response.
//!
//! | limit | setting | starts with | ends with | measured in |
//! |---|---|---|---|---|
//! | [`Expired::Request`] | request timeout of the listener | the head of the request | the last byte of the request | `router/timers.rs` |
//! | [`Expired::Response`] | request timeout of the rule | the last byte of the request | the head of the response | `traffic/deadline.rs` |
//! | [`Expired::Attempt`] | attempt timeout of the rule | the last byte of the request, or the attempt | the head of its response | `traffic/deadline.rs` |
//! | [`Expired::BackendStream`] | maximum stream duration of the rule | the forwarding | the last byte of the backend | `traffic/deadline.rs`, then `upstream/body.rs` |
//! | [`Expired::ClientStream`] | maximum stream duration of the listener | the head of the request | the last byte of the response | `router/timers.rs` |
//! | [`Expired::Idle`] | idle timeout of the listener or the rule | progress of either side | the last byte of the response | `router/timers.rs` |
//!
//! The limits of the client's side include those of the backend's side: a request may consist of several
//! attempts, and a policy may delay the response after the stream of the backend has ended. [`Error::reply`]
//! contains the statuses, flags and details of all limits.
//!
//! Two kinds of limits are implemented elsewhere. The limits of connections (`serve/timers.rs`) also apply
//! while there is no request. The limit on the time for which a client accepts no data
//! (`serve/stream_task.rs`) applies while bodies are not polled.

use tokio::time::Instant;

use crate::{Error, LocalReply};

/// A time limit that has expired. If two limits expire at the same time, the limit that is listed first here
/// is reported.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub(crate) enum Expired {
    /// The request was not complete in time.
    #[error("the request timeout has expired")]
    Request,
    /// No response began in time after the request was complete.
    #[error("the response timeout has expired")]
    Response,
    /// No response to an attempt began in time.
    #[error("the timeout of the attempt has expired")]
    Attempt,
    /// The maximum duration of the backend's stream has been reached.
    #[error("maximum stream duration reached")]
    BackendStream,
    /// The maximum duration of the client's stream has been reached.
    #[error("the maximum duration of the stream has been reached")]
    ClientStream,
    /// Neither side made progress in time.
    #[error("the idle timeout of the stream has expired")]
    Idle,
}

impl Expired {
    /// The error for this limit. `complete`: the request has been read completely.
    pub(crate) fn error(self, complete: bool) -> Error {
        match self {
            Self::Request => Error::RequestTimeout,
            Self::Response => Error::Timeout,
            Self::Attempt => Error::AttemptTimeout,
            Self::BackendStream => Error::StreamDuration(complete),
            Self::ClientStream => Error::RequestDuration(complete),
            Self::Idle => Error::StreamIdle(complete),
        }
    }

    /// The reply for this limit if the response head has been sent. Only the flag and details of the reply
    /// are used.
    pub(crate) fn after_head(self) -> LocalReply {
        self.error(true).reply()
    }
}

/// Time at which a limit expires, and the limit.
pub(crate) type ExpiresAt = (Instant, Expired);

/// The limit that expires first.
#[inline]
pub(crate) fn earliest<const N: usize>(limits: [Option<ExpiresAt>; N]) -> Option<ExpiresAt> {
    let mut first: Option<ExpiresAt> = None;
    for limit in limits.into_iter().flatten() {
        if first.is_none_or(|first| limit < first) {
            first = Some(limit);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_limits_that_expire_together_the_first_in_order_counts() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);

        let first = earliest([
            Some((later, Expired::Request)),
            None,
            Some((now, Expired::Idle)),
            Some((now, Expired::ClientStream)),
        ]);

        assert_eq!(first, Some((now, Expired::ClientStream)));
        assert_eq!(earliest([None, None]), None);
    }

    #[test]
    fn the_log_names_the_limit_that_ended_a_stream() {
        for (expired, flag, details) in [
            (Expired::Idle, "SI", "stream_idle_timeout"),
            (Expired::ClientStream, "", "max_duration_timeout"),
            (
                Expired::BackendStream,
                "UMSDR",
                "upstream_max_stream_duration_reached",
            ),
        ] {
            let reply = expired.after_head();

            assert_eq!((reply.flag, &*reply.details), (flag, details));
        }
    }
}
