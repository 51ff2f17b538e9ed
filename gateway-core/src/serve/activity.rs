//! The state of a connection, shared by all parts that serve the connection.
//!
//! The instrumented stream, the service, the requests and the timers of a connection share one [`Activity`].
//! On a worker, all of them run on one thread. With a multi-threaded runtime, the streams of an HTTP/2
//! connection may run on other threads than the connection, so a mutex protects the state. On a worker, the
//! mutex is uncontended: each lock costs about 20 instructions, and a request needs a few locks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::state::{ConnectionState, Output, Phase, Shutdown};
use super::stream_task::DropCause;
use super::time::{Micros, micros};
use crate::conn::{ConnectionGuard, Drain};
use crate::http::lenient::LenientParse;

/// The shared state of a connection.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    state: Mutex<ConnectionState>,
    drain: Drain,
    /// Counts the connection until the last reference to this `Activity` is dropped.
    _guard: ConnectionGuard,
}

impl Activity {
    /// State of a new connection.
    pub(super) fn new(guard: ConnectionGuard, drain: Drain, max_requests: Option<u64>) -> Self {
        Self {
            opened: Instant::now(),
            state: Mutex::new(ConnectionState::new(max_requests)),
            drain,
            _guard: guard,
        }
    }

    /// Time since the connection was opened.
    pub(super) fn now(&self) -> Micros {
        micros(self.opened.elapsed())
    }

    /// Converts a time since the connection was opened to an [`Instant`].
    pub(super) fn instant(&self, at: Micros) -> Instant {
        self.opened + Duration::from_micros(at)
    }

    /// Locks the state.
    pub(super) fn state(&self) -> MutexGuard<'_, ConnectionState> {
        // A poisoned lock is used as usual, because a panic cannot leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the first bytes of a connection have been received, and do not identify the protocol yet.
    pub(super) fn on_unidentified(&self) {
        let now = self.now();
        self.state().head_since.get_or_insert(now);
    }

    /// Records received bytes; 0 means that the client has closed its side. `lenient`: see
    /// [`ConnectionState::on_read`]; `within_head`: see [`ConnectionState::is_within_head`].
    pub(super) fn on_read(
        &self,
        bytes: usize,
        http1: bool,
        lenient: Option<(u64, LenientParse)>,
        within_head: bool,
    ) {
        let mut state = self.state();
        if bytes == 0 {
            state.client_closed = Some(self.now());
        } else {
            if http1 {
                state.is_within_head = within_head;
            } else {
                state.on_http2_head(within_head, || self.now());
            }
            state.on_read(bytes as u64, http1, lenient, || self.now());
        }
    }

    /// Records a write; `pending`: the write waits until the client accepts data.
    pub(super) fn on_write(&self, pending: bool) {
        let mut state = self.state();
        state.on_write(pending, || self.now());
        if !pending {
            state.on_sent(|| self.now());
        }
        if !pending && state.client_closed.is_some() {
            state.client_closed = Some(self.now());
        }
    }

    /// Records a flush; `pending`: the flush waits until the client accepts data.
    pub(super) fn on_flush(&self, pending: bool) {
        let mut state = self.state();
        state.on_write(pending, || self.now());
        if !pending {
            state.on_flushed();
        }
    }

    /// Records that hyper's own error response with `status` was withheld from the client.
    pub(super) fn on_withheld(&self, status: u16) {
        self.state().on_withheld(status);
    }

    /// Status of hyper's own error response that was withheld from the client. `None`: no response was
    /// withheld.
    pub(super) fn withheld(&self) -> Option<u16> {
        match self.state().shutdown {
            Shutdown::Withheld(status) => Some(status),
            Shutdown::Forward | Shutdown::Releasing => None,
        }
    }

    /// Whether all responses are flushed. If so, bytes that the codec writes are its own error response or a
    /// protocol message.
    pub(super) fn is_output_flushed(&self) -> bool {
        self.state().output == Output::Flushed
    }

    /// The upgrade that the codec completes when it ends, although no response has accepted it.
    pub(super) fn take_pending_upgrade(&self) -> Option<OnUpgrade> {
        self.state().pending_upgrade.take()
    }

    /// Whether the client has closed its side.
    pub(super) fn is_client_closed(&self) -> bool {
        self.state().client_closed.is_some()
    }

    /// Records that the gateway closes the connection. `cause`: the reason why the requests in progress are
    /// dropped. `None`: the client has closed the connection.
    pub(super) fn on_closed(&self, cause: Option<DropCause>) {
        let now = self.now();
        let mut state = self.state();
        state.client_closed.get_or_insert(now);
        state.drop_cause = cause;
    }

    /// Whether no request is in progress, so that the next bytes begin a request head.
    pub(super) fn is_idle(&self) -> bool {
        self.state().phase == Phase::Idle
    }

    /// Whether a part of a request head has been received, or an empty line before one (HTTP/1 only).
    pub(super) fn is_reading_head(&self) -> bool {
        matches!(self.state().phase, Phase::ReadingHead { .. })
    }

    /// Time since the first byte of the head that is being received; zero if no head is being received.
    pub(super) fn head_age(&self) -> Duration {
        let began = self.state().head_began();
        began.map_or(Duration::ZERO, |began| {
            Duration::from_micros(self.now().saturating_sub(began))
        })
    }

    /// Makes the next response the last response of the connection.
    pub(super) fn make_last(&self) {
        self.state().make_last();
    }
}

/// A request, tracked from its complete head until its response body is dropped.
#[derive(Debug)]
pub(super) struct TrackedRequest {
    activity: Arc<Activity>,
    started: Micros,
    has_response: bool,
}

impl TrackedRequest {
    /// Begins a request with a body of `length` bytes, if known. Also returns the defect of its head, if any.
    pub(super) fn begin(
        activity: &Arc<Activity>,
        length: Option<u64>,
    ) -> (Self, Option<LenientParse>) {
        let (started, lenient) = activity.state().on_request(length, || activity.now());
        let request = Self {
            started,
            activity: activity.clone(),
            has_response: false,
        };
        (request, lenient)
    }

    /// The reason why the request is dropped, if the codec drops it now (HTTP/2 only). While neither side has
    /// closed the connection, the client has reset the stream. `None`: the client has closed the connection.
    pub(super) fn drop_cause(&self) -> Option<DropCause> {
        let state = self.activity.state();
        match state.client_closed {
            Some(_) => state.drop_cause,
            None => Some(DropCause::ClientReset),
        }
    }

    /// Records that the client has disconnected, so that no response is sent (HTTP/1 only).
    pub(super) fn abandon(&self) {
        self.activity.state().is_abandoned = true;
    }

    /// Records the response. `tunnel`: the response accepts an upgrade or `CONNECT`. Returns whether the
    /// connection closes after the response.
    pub(super) fn on_response(&mut self, tunnel: bool) -> bool {
        self.has_response = true;
        let mut state = self.activity.state();
        state.on_response();
        if tunnel {
            state.on_tunnel();
        }
        state.is_last() || self.activity.drain.is_draining()
    }
}

impl Drop for TrackedRequest {
    fn drop(&mut self) {
        let now = self.activity.now();
        let reset_since = (!self.has_response).then_some(self.started);
        self.activity.state().on_request_end(reset_since, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_served_until_it_is_dropped() {
        let activity = Activity::new(ConnectionGuard::for_tests(), Drain::new(), Some(2));
        let activity = Arc::new(activity);

        activity.on_read(100, true, Some((0, LenientParse::Fragment)), false);
        let (mut first, lenient) = TrackedRequest::begin(&activity, None);
        assert!(!activity.is_idle());
        assert_eq!(lenient, Some(LenientParse::Fragment));
        assert!(!first.on_response(false));
        drop(first);
        assert!(activity.is_idle());
        let (mut second, lenient) = TrackedRequest::begin(&activity, None);
        assert_eq!(lenient, None);
        assert!(second.on_response(false), "the maximum number of requests");
    }
}
