//! Time limits of a connection that the codec does not implement.
//!
//! [`next_expiry`] computes from the [`ConnectionState`] and the [`ConnectionTimeouts`] when the connection
//! must end, and why. [`Timers`] waits for that time with a single timer. This timer is reset only when it
//! fires, or when a deadline is earlier than the time for which the timer is set ([`ReusableTimer`]). A
//! request that stays within its limits does not change the timer.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::activity::Activity;
use super::state::{ConnectionState, Output, Phase};
use super::time::{Micros, micros};
use crate::conn::drain::{Drain, DrainWatch};
use crate::conn::preamble::PREFACE;
use crate::http::settings::ListenerSettings;
use crate::reusable_timer::ReusableTimer;

/// Minimum timeout for the first byte. The time is long because clients open connections before they need
/// them.
const MIN_FIRST_BYTE: Duration = Duration::from_secs(10);
/// Maximum time for which a write may wait until the client accepts data. Over HTTP/1, a shorter idle timeout of
/// streams takes precedence.
const WRITE: Duration = Duration::from_secs(30);
/// Maximum time for which no byte of a response is sent to a client that has closed its side. The client may
/// still read, or may have disconnected: over TCP, only sending bytes shows the difference.
const HALF_CLOSED: Duration = Duration::from_secs(10);
/// Maximum time for which a connection without requests may stay open after it was asked to close. Bytes that
/// are sent extend this time.
const CLOSING: Duration = Duration::from_secs(5);
/// Maximum time by which sent bytes extend [`CLOSING`]. The sent bytes may be the end of a response, or the
/// codec's replies to PING.
const MAX_CLOSING: Duration = Duration::from_secs(300);
/// Time that is added to the handler's time limit of a request body, so that the handler's more specific
/// response takes precedence.
const AFTER_HANDLER: Duration = Duration::from_secs(1);
/// Idle time after which an HTTP/1 connection releases its buffers. Allocating them again costs less than
/// 1 % of a request on a connection with fewer than one request per second.
const BUFFER_RELEASE: Duration = Duration::from_secs(1);

/// Time limits in the phases of a connection, in microseconds. `None`: no limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ConnectionTimeouts {
    /// Number of bytes that must arrive within `first_bytes`: 1, or 24, the length of the HTTP/2 preface.
    preamble_len: u64,
    first_bytes: Option<Micros>,
    head: Option<(Micros, Expiry)>,
    request_body: Option<Micros>,
    idle: Option<Micros>,
    write: Micros,
    max_duration: Option<Micros>,
    buffer_release: Option<Micros>,
}

impl ConnectionTimeouts {
    /// Limits of an HTTP/1 connection. They also apply while the protocol is not known yet.
    pub(super) fn http1(settings: &ListenerSettings) -> Self {
        Self {
            buffer_release: Some(micros(BUFFER_RELEASE)),
            ..Self::new(settings, 1)
        }
    }

    /// Limits of an HTTP/2 connection.
    pub(super) fn http2(settings: &ListenerSettings) -> Self {
        Self {
            // Streams have time limits of their own, so other streams of the connection can continue.
            write: micros(WRITE),
            ..Self::new(settings, PREFACE.len() as u64)
        }
    }

    fn new(settings: &ListenerSettings, preamble_len: u64) -> Self {
        let timeouts = &settings.timeouts;
        let head = timeouts.request_headers.map(micros);
        let stream_idle = timeouts.stream_idle.map(micros);
        let idle = timeouts.idle.map(micros);
        Self {
            preamble_len,
            first_bytes: min_deadline(head.map(|head| head.max(micros(MIN_FIRST_BYTE))), idle),
            head: first_expiry(
                first_expiry(
                    head.map(|head| (head, Expiry::Head)),
                    timeouts.request.map(|t| (micros(t), Expiry::Request)),
                ),
                stream_idle.map(|limit| (limit, Expiry::HeadIdle)),
            ),
            request_body: stream_idle.map(|limit| limit.saturating_add(micros(AFTER_HANDLER))),
            idle,
            write: stream_idle.map_or(micros(WRITE), |limit| limit.min(micros(WRITE))),
            max_duration: settings.limits.max_duration.map(micros),
            buffer_release: None,
        }
    }
}

/// The earlier of two optional deadlines.
fn min_deadline(a: Option<Micros>, b: Option<Micros>) -> Option<Micros> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The earlier of two optional expiries. If both are equal, `a`.
fn first_expiry(
    a: Option<(Micros, Expiry)>,
    b: Option<(Micros, Expiry)>,
) -> Option<(Micros, Expiry)> {
    match (a, b) {
        (Some(a), Some(b)) if b.0 < a.0 => Some(b),
        (a, b) => a.or(b),
    }
}

/// Reason why a connection must end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expiry {
    /// The first bytes were not received in time.
    FirstBytes,
    /// A request head was not complete in time.
    Head,
    /// As [`Self::Head`], but the limit for whole requests expired.
    Request,
    /// As [`Self::Head`], but the idle timeout of streams expired. As in Envoy, bytes of the head do not
    /// restart this timeout.
    HeadIdle,
    /// No bytes of an incomplete request body were received in time.
    Body,
    /// No byte was sent in time to a client that has closed its side.
    HalfClosed,
    /// The client disconnected before its request was complete, so it gets no response.
    Abandoned,
    /// No request was received in time.
    Idle,
    /// The client did not accept bytes in time.
    Write,
    /// The connection did not close in time after it was asked to close.
    Closing,
    /// The maximum duration is reached.
    MaxDuration,
}

/// An instruction to the driver of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signal {
    /// Close the connection when its requests have ended. Sent once.
    Drain,
    /// The maximum duration is reached. Sent once.
    MaxDuration,
    /// The connection is idle: release its buffers. Sent once per idle period.
    ReleaseBuffers,
    /// Close the connection now.
    Expired(Expiry),
}

/// Signals that have been sent already, and the start of closing.
#[derive(Clone, Copy, Debug, Default)]
struct SentSignals {
    /// [`Signal::MaxDuration`] was sent.
    max_duration: bool,
    /// Time at which the connection was asked to close.
    closing_since: Option<Micros>,
    /// Start of the idle period for which [`Signal::ReleaseBuffers`] was sent.
    released_for: Option<Micros>,
}

/// The time at which a connection must end, and the reason.
fn next_expiry(
    state: &ConnectionState,
    timeouts: &ConnectionTimeouts,
    sent: SentSignals,
) -> Option<(Micros, Expiry)> {
    let after = |since: Micros, limit: Option<Micros>, why| {
        limit.map(|limit| (since.saturating_add(limit), why))
    };
    let phase = match state.phase {
        // Bytes that do not identify the protocol are limited by `head` below.
        Phase::Idle if state.received == 0 && state.head_since.is_some() => None,
        Phase::Idle | Phase::ReadingHead { .. } if state.received < timeouts.preamble_len => {
            after(0, timeouts.first_bytes, Expiry::FirstBytes)
        }
        // A client that does not accept the end of the response is limited by `write` below. A closing
        // connection has its own limit.
        Phase::Idle if state.blocked_since.is_some() || sent.closing_since.is_some() => None,
        Phase::Idle => after(state.idle_since, timeouts.idle, Expiry::Idle),
        Phase::ReadingHead { since, .. } => {
            let (limit, why) = timeouts.head.unzip();
            after(since, limit, why.unwrap_or(Expiry::Head))
        }
        Phase::Serving { .. } if state.is_abandoned => Some((0, Expiry::Abandoned)),
        Phase::Serving { .. } => match state.client_closed {
            Some(since) if state.output != Output::Tunnel => {
                after(since, Some(micros(HALF_CLOSED)), Expiry::HalfClosed)
            }
            _ => state
                .body_incomplete_since()
                .and_then(|since| after(since, timeouts.request_body, Expiry::Body)),
        },
    };
    let write = state
        .blocked_since
        .and_then(|since| after(since, Some(timeouts.write), Expiry::Write));
    let duration = match sent.closing_since {
        Some(since) if !state.is_serving() => {
            let since = since.max(state.idle_since);
            let end = since.max(state.last_sent) + micros(CLOSING);
            Some((end.min(since + micros(MAX_CLOSING)), Expiry::Closing))
        }
        None if !sent.max_duration => after(0, timeouts.max_duration, Expiry::MaxDuration),
        _ => None,
    };
    // A closing connection is not ended by an incomplete head: its complete requests are still served.
    let head_since = state.head_since.filter(|_| sent.closing_since.is_none());
    let head = head_since.and_then(|since| {
        let (limit, why) = timeouts.head?;
        Some((since.saturating_add(limit), why))
    });
    first_expiry(first_expiry(first_expiry(head, phase), write), duration)
}

/// The time at which an idle connection may release its buffers.
fn buffer_release_at(
    state: &ConnectionState,
    timeouts: &ConnectionTimeouts,
    sent: SentSignals,
) -> Option<Micros> {
    let limit = timeouts.buffer_release?;
    let idle = state.phase == Phase::Idle && state.output == Output::Flushed;
    let releasable = idle && state.blocked_since.is_none() && sent.closing_since.is_none();
    let holds_buffers = state.received > 0 && sent.released_for != Some(state.idle_since);
    (releasable && holds_buffers).then(|| state.idle_since.saturating_add(limit))
}

/// Waits for the deadlines and the drain of one connection.
#[derive(Debug)]
pub(super) struct Timers {
    activity: Arc<Activity>,
    timeouts: ConnectionTimeouts,
    timer: Option<ReusableTimer>,
    drain: Option<DrainWatch>,
    /// Time at which [`Signal::Drain`] must be sent. `None` unless a drain has started.
    drain_at: Option<Micros>,
    sent: SentSignals,
}

impl Timers {
    /// Timers of a new connection.
    pub(super) fn new(
        activity: Arc<Activity>,
        timeouts: ConnectionTimeouts,
        drain: &Drain,
    ) -> Self {
        Self {
            timer: None,
            drain: Some(drain.watch()),
            drain_at: None,
            sent: SentSignals::default(),
            activity,
            timeouts,
        }
    }

    /// Replaces the limits, once the HTTP version is known.
    pub(super) fn set_timeouts(&mut self, timeouts: ConnectionTimeouts) {
        self.timeouts = timeouts;
    }

    /// Waits for the next signal. Must be polled after the codec, because the codec changes the deadlines.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        if let Some(drain) = &mut self.drain
            && drain.poll(cx).is_ready()
        {
            self.drain_at = Some(self.activity.now() + micros(drain.grace()));
            self.drain = None;
        }
        loop {
            let state = self.activity.state();
            let has_received = state.received > 0;
            let idle_since = state.idle_since;
            let expiry = next_expiry(&state, &self.timeouts, self.sent);
            let release = buffer_release_at(&state, &self.timeouts, self.sent);
            drop(state);
            if self.drain_at.is_some() && (has_received || self.has_passed(self.drain_at)) {
                self.drain_at = None;
                self.set_closing();
                return Poll::Ready(Signal::Drain);
            }
            let deadline = min_deadline(expiry.map(|(at, _)| at), self.drain_at);
            ready!(self.poll_timer(min_deadline(deadline, release), cx));
            match expiry {
                Some((at, Expiry::MaxDuration)) if self.has_passed(Some(at)) => {
                    self.sent.max_duration = true;
                    return Poll::Ready(Signal::MaxDuration);
                }
                Some((at, why)) if self.has_passed(Some(at)) => {
                    return Poll::Ready(Signal::Expired(why));
                }
                _ if self.has_passed(release) => {
                    self.sent.released_for = Some(idle_since);
                    return Poll::Ready(Signal::ReleaseBuffers);
                }
                // The timer fired for `drain_at`, which the next iteration handles.
                _ => {}
            }
        }
    }

    fn poll_timer(&mut self, at: Option<Micros>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = at.map(|at| self.activity.instant(at)) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| ReusableTimer::new(at));
        timer.poll(at, cx)
    }

    /// Records that the connection has been asked to close.
    pub(super) fn set_closing(&mut self) {
        if self.sent.closing_since.is_none() {
            self.sent.closing_since = Some(self.activity.now());
            self.activity.state().is_closing = true;
        }
    }

    fn has_passed(&self, at: Option<Micros>) -> bool {
        at.is_some_and(|at| at <= self.activity.now())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;
    use crate::conn::ConnectionGuard;

    const SECOND: Micros = 1_000_000;

    fn timeouts() -> ConnectionTimeouts {
        ConnectionTimeouts::http1(&ListenerSettings::default())
    }

    /// State of a connection that has received a byte and became idle 7 s after it was opened. `edit` changes
    /// the state.
    fn state(edit: impl FnOnce(&mut ConnectionState)) -> ConnectionState {
        let mut state = ConnectionState::new(None);
        state.received = 1;
        state.idle_since = 7 * SECOND;
        edit(&mut state);
        state
    }

    fn reading_head(state: &mut ConnectionState) {
        state.phase = Phase::ReadingHead {
            since: 8 * SECOND,
            last_read: 8 * SECOND,
            offset: 0,
        };
    }

    fn serving(state: &mut ConnectionState) {
        state.phase = Phase::Serving {
            requests: 1,
            body: None,
        };
    }

    fn closing(at: Micros) -> SentSignals {
        SentSignals {
            closing_since: Some(at),
            ..SentSignals::default()
        }
    }

    #[test]
    fn each_state_has_its_deadline() {
        let none = SentSignals::default();
        let blocked = state(|state| {
            serving(state);
            state.blocked_since = Some(SECOND);
        });
        let half_closed = |output| {
            state(|state| {
                serving(state);
                state.client_closed = Some(5 * SECOND);
                state.output = output;
            })
        };
        let table = [
            (
                ConnectionState::new(None),
                none,
                Some((10, Expiry::FirstBytes)),
            ),
            (state(|_| {}), none, Some((3607, Expiry::Idle))),
            (state(reading_head), none, Some((18, Expiry::Head))),
            (state(serving), none, None),
            (blocked, none, Some((31, Expiry::Write))),
            (
                half_closed(Output::Response),
                none,
                Some((15, Expiry::HalfClosed)),
            ),
            (half_closed(Output::Tunnel), none, None),
            (
                state(|_| {}),
                closing(9 * SECOND),
                Some((14, Expiry::Closing)),
            ),
            (
                state(|_| {}),
                closing(2 * SECOND),
                Some((12, Expiry::Closing)),
            ),
            (state(serving), closing(SECOND), None),
            (
                state(|state| state.last_sent = 12 * SECOND),
                closing(9 * SECOND),
                Some((17, Expiry::Closing)),
            ),
            (
                state(|state| state.last_sent = 400 * SECOND),
                closing(9 * SECOND),
                Some((309, Expiry::Closing)),
            ),
            (
                state(|state| state.head_since = Some(8 * SECOND)),
                none,
                Some((18, Expiry::Head)),
            ),
            (
                state(|state| {
                    serving(state);
                    state.head_since = Some(8 * SECOND);
                }),
                none,
                Some((18, Expiry::Head)),
            ),
            (
                state(|state| {
                    serving(state);
                    state.head_since = Some(8 * SECOND);
                }),
                closing(9 * SECOND),
                None,
            ),
        ];
        for (state, sent, expected) in table {
            let expected = expected.map(|(seconds, why)| (seconds * SECOND, why));
            assert_eq!(
                next_expiry(&state, &timeouts(), sent),
                expected,
                "{state:?}"
            );
        }
    }

    #[test]
    fn the_earlier_of_head_and_request_timeout_applies() {
        let mut settings = ListenerSettings::default();
        let expiry = |settings: &ListenerSettings| {
            let timeouts = ConnectionTimeouts::http1(settings);
            next_expiry(&state(reading_head), &timeouts, SentSignals::default())
        };

        settings.timeouts.request = Some(Duration::from_secs(2));
        assert_eq!(expiry(&settings), Some((10 * SECOND, Expiry::Request)));
        settings.timeouts.request = Some(Duration::from_secs(60));
        assert_eq!(expiry(&settings), Some((18 * SECOND, Expiry::Head)));
        settings.timeouts.request = None;
        settings.timeouts.request_headers = None;
        settings.timeouts.stream_idle = Some(Duration::from_secs(3));
        assert_eq!(expiry(&settings), Some((11 * SECOND, Expiry::HeadIdle)));
        settings.timeouts.stream_idle = None;
        assert_eq!(expiry(&settings), None);
    }

    #[test]
    fn the_maximum_duration_applies_during_requests_and_is_signalled_once() {
        let mut settings = ListenerSettings::default();
        settings.limits.max_duration = Some(Duration::from_secs(5));
        let timeouts = ConnectionTimeouts::http1(&settings);
        let signalled = SentSignals {
            max_duration: true,
            ..SentSignals::default()
        };

        let first = next_expiry(&state(serving), &timeouts, SentSignals::default());
        assert_eq!(first, Some((5 * SECOND, Expiry::MaxDuration)));
        assert_eq!(next_expiry(&state(serving), &timeouts, signalled), None);
    }

    #[test]
    fn buffers_are_released_once_per_idle_period() {
        let released = SentSignals {
            released_for: Some(7 * SECOND),
            ..SentSignals::default()
        };
        let at = |state: &ConnectionState, sent| buffer_release_at(state, &timeouts(), sent);

        let idle = state(|_| {});
        assert_eq!(at(&idle, SentSignals::default()), Some(8 * SECOND));
        assert_eq!(at(&idle, released), None);
        let later = state(|state| state.idle_since = 9 * SECOND);
        assert_eq!(at(&later, released), Some(10 * SECOND));
        let unflushed = state(|state| state.output = Output::Response);
        assert_eq!(at(&unflushed, SentSignals::default()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_back_expires_later() {
        let activity = Activity::new(ConnectionGuard::for_tests(), Drain::new(), None);
        let activity = Arc::new(activity);
        let mut timers = Timers::new(activity.clone(), timeouts(), &Drain::new());
        let start = Instant::now();
        let read = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            activity.on_read(100, true, None, false);
        };

        let (signal, ()) = tokio::join!(std::future::poll_fn(|cx| timers.poll(cx)), read);

        assert_eq!(signal, Signal::Expired(Expiry::Head));
        assert_eq!(start.elapsed().as_secs(), 19);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_signalled_once_and_bounds_the_connection() {
        let drain = Drain::new();
        let activity = Activity::new(ConnectionGuard::for_tests(), Drain::new(), None);
        let activity = Arc::new(activity);
        let mut timers = Timers::new(activity.clone(), timeouts(), &drain);
        activity.on_read(1, false, None, false);
        drain.start();

        let first = std::future::poll_fn(|cx| timers.poll(cx)).now_or_never();
        let second = std::future::poll_fn(|cx| timers.poll(cx)).await;

        assert_eq!(first, Some(Signal::Drain));
        assert_eq!(second, Signal::Expired(Expiry::Closing));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_received_byte_drains_after_the_grace_period() {
        let drain = Drain::new();
        let activity = Activity::new(ConnectionGuard::for_tests(), Drain::new(), None);
        let mut timers = Timers::new(Arc::new(activity), timeouts(), &drain);
        drain.start();
        let start = Instant::now();

        let signal = std::future::poll_fn(|cx| timers.poll(cx)).await;

        assert_eq!(signal, Signal::Drain);
        assert!(start.elapsed() >= drain.grace());
    }
}
