//! The timers of a connection that the codec does not have.
//!
//! [`expiry`] is the rule: from what was [seen](Seen) on a connection and its [`Limits`] it tells
//! when the connection has to end, and why. [`Timers`] waits: it has one timer, which is only set
//! anew when it fires or when a deadline comes to lie before it ([`ReusableTimer`]). A request that goes well
//! touches no timer.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::activity::Activity;
use crate::conn::drain::{Drain, DrainWatch, GRACE};
use crate::conn::preamble::PREFACE;
use crate::http::settings::ListenerSettings;
use crate::reusable_timer::ReusableTimer;

/// The shortest time for the first byte, since clients open connections ahead of need.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is to be sent.
const WRITE: Duration = Duration::from_secs(30);
/// How long an idle connection may take to end after it was asked to.
const CLOSING: Duration = Duration::from_secs(5);
/// How much longer than the handler we wait for a body: its answer is better than ours.
const AFTER_HANDLER: Duration = Duration::from_secs(1);
/// How long a connection is idle before it gives its buffers back. Making them anew costs less than a
/// hundredth of what a request costs on a connection that speaks so rarely.
const REST: Duration = Duration::from_secs(1);

/// How long a connection may be in which state, in microseconds; `None`: no limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    /// Bytes after which the opening is over: 1, or 24 for HTTP/2.
    opening: u64,
    /// Time for the opening.
    first_byte: Option<u64>,
    head: Option<(u64, Expiry)>,
    body: Option<u64>,
    held: Option<u64>,
    idle: Option<u64>,
    age: Option<u64>,
    rest: Option<u64>,
}

impl Limits {
    /// Those of a listener for HTTP/1, and before it is known what is spoken.
    pub(crate) fn http1(settings: &ListenerSettings) -> Self {
        Self {
            rest: Some(micros(REST)),
            ..Self::new(settings, 1)
        }
    }

    /// Those of a listener for HTTP/2.
    pub(crate) fn http2(settings: &ListenerSettings) -> Self {
        Self::new(settings, PREFACE.len() as u64)
    }

    fn new(settings: &ListenerSettings, opening: u64) -> Self {
        let timeouts = &settings.timeouts;
        let head = timeouts.request_headers.map(micros);
        let stream_idle = timeouts.stream_idle.map(micros);
        let idle = timeouts.idle.map(micros);
        Self {
            opening,
            first_byte: earlier(head.map(|head| head.max(micros(FIRST_BYTE))), idle),
            head: sooner(
                head.map(|head| (head, Expiry::Head)),
                timeouts.request.map(|t| (micros(t), Expiry::Request)),
            ),
            body: stream_idle.map(|limit| limit.saturating_add(micros(AFTER_HANDLER))),
            held: stream_idle,
            idle,
            age: settings.limits.max_duration.map(micros),
            rest: None,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Of two, the one that is over first; of equals the former.
fn sooner(a: Option<(u64, Expiry)>, b: Option<(u64, Expiry)>) -> Option<(u64, Expiry)> {
    match (a, b) {
        (Some(a), Some(b)) if b.0 < a.0 => Some(b),
        (a, b) => a.or(b),
    }
}

/// What was seen on a connection; times in microseconds since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Bytes received.
    pub(crate) received: u64,
    /// A request is being answered.
    pub(crate) in_flight: bool,
    /// If not: since when.
    pub(crate) idle_since: u64,
    /// All of the answers is with the system.
    pub(crate) flushed: bool,
    /// Since when the head of a request has been incomplete.
    pub(crate) head_since: Option<u64>,
    /// If the client does not take what is there of an answer's body: since when.
    pub(crate) held_since: Option<u64>,
    /// If the request's body is incomplete for certain: when its last byte came.
    pub(crate) body_since: Option<u64>,
    /// Since when a write has been waiting.
    pub(crate) blocked_since: Option<u64>,
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expiry {
    /// Nothing, or not even the preface, came.
    Opening,
    /// The head of a request is not complete.
    Head,
    /// The same, by the limit for whole requests.
    Request,
    /// A request's body does not go on.
    Body,
    /// No request came.
    Idle,
    /// The client takes nothing of what is sent.
    Write,
    /// It was asked to end and does not.
    Closing,
    /// It has reached its maximum age.
    Age,
}

/// When an idle connection may give its buffers back.
fn rest_at(seen: &Seen, limits: &Limits, told: Told) -> Option<u64> {
    let rest = limits.rest?;
    let idle = !seen.in_flight && seen.flushed && seen.head_since.is_none();
    let at_ease = idle && seen.blocked_since.is_none() && told.closing.is_none();
    let anew = seen.received > 0 && seen.idle_since != told.rested_since;
    (at_ease && anew).then(|| seen.idle_since.saturating_add(rest))
}

/// What was already told about the end of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// [`Signal::Aged`].
    aged: bool,
    /// Since when the connection has been closing.
    closing: Option<u64>,
    /// The idle time for which [`Signal::Rest`] was given began then.
    rested_since: u64,
}

/// When a connection has to end, in microseconds since it was opened, and why.
fn expiry(seen: &Seen, limits: &Limits, told: Told) -> Option<(u64, Expiry)> {
    let after =
        |since: u64, limit: Option<u64>, why| limit.map(|limit| (since.saturating_add(limit), why));
    let state = if seen.received < limits.opening && !seen.in_flight {
        after(0, limits.first_byte, Expiry::Opening)
    } else if let Some(since) = seen.head_since {
        let (limit, why) = limits.head.unzip();
        after(since, limit, why.unwrap_or(Expiry::Head))
    } else if seen.in_flight {
        seen.body_since
            .and_then(|since| after(since, limits.body, Expiry::Body))
    } else {
        after(seen.idle_since, limits.idle, Expiry::Idle)
    };
    let write = seen
        .blocked_since
        .and_then(|since| after(since, Some(micros(WRITE)), Expiry::Write));
    let held = seen
        .held_since
        .and_then(|since| after(since, limits.held, Expiry::Write));
    let age = match told.closing {
        Some(since) if !seen.in_flight => after(
            since.max(seen.idle_since),
            Some(micros(CLOSING)),
            Expiry::Closing,
        ),
        None if !told.aged => after(0, limits.age, Expiry::Age),
        _ => None,
    };
    sooner(sooner(state, write), sooner(held, age))
}

/// What the driver of a connection has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// End when the running requests have. Given once.
    Drain,
    /// [`Expiry::Age`] has come. Given once.
    Aged,
    /// Nothing has been said for a moment: buffers may be given back. Given once for each idle time.
    Rest,
    /// End now.
    Expired(Expiry),
}

/// Waits for the deadlines and the drain of one connection.
#[derive(Debug)]
pub(crate) struct Timers {
    activity: Arc<Activity>,
    limits: Limits,
    alarm: Option<ReusableTimer>,
    drain: Option<DrainWatch>,
    /// When to tell of the drain that has started.
    drain_at: Option<u64>,
    told: Told,
}

impl Timers {
    /// Starts with the connection.
    pub(crate) fn new(activity: Arc<Activity>, limits: Limits, drain: &Drain) -> Self {
        Self {
            alarm: None,
            drain: Some(drain.watch()),
            drain_at: None,
            told: Told::default(),
            activity,
            limits,
        }
    }

    /// From here on HTTP/2 is spoken.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// To be polled after the codec, as the codec's work moves the deadlines.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        if self.drain.as_mut().is_some_and(|d| d.poll(cx).is_ready()) {
            self.drain = None;
            self.drain_at = Some(self.activity.now() + GRACE.as_micros() as u64);
        }
        loop {
            let seen = self.activity.seen();
            if self.drain_at.is_some() && (seen.received > 0 || self.is_over(self.drain_at)) {
                self.drain_at = None;
                self.note_closing();
                return Poll::Ready(Signal::Drain);
            }
            let next = expiry(&seen, &self.limits, self.told);
            let rest = rest_at(&seen, &self.limits, self.told);
            let at = earlier(earlier(next.map(|(at, _)| at), self.drain_at), rest);
            ready!(self.poll_alarm(at, cx));
            match next {
                Some((at, Expiry::Age)) if self.is_over(Some(at)) => {
                    self.told.aged = true;
                    return Poll::Ready(Signal::Aged);
                }
                Some((at, why)) if self.is_over(Some(at)) => {
                    return Poll::Ready(Signal::Expired(why));
                }
                _ if self.is_over(rest) => {
                    self.told.rested_since = seen.idle_since;
                    return Poll::Ready(Signal::Rest);
                }
                // It was the drain's.
                _ => {}
            }
        }
    }

    fn poll_alarm(&mut self, at: Option<u64>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = at.map(|at| self.activity.instant(at)) else {
            return Poll::Pending;
        };
        let alarm = self.alarm.get_or_insert_with(|| ReusableTimer::new(at));
        alarm.poll(at, cx)
    }

    /// The connection has been asked to end.
    pub(crate) fn note_closing(&mut self) {
        if self.told.closing.is_none() {
            self.told.closing = Some(self.activity.now());
        }
    }

    fn is_over(&self, at: Option<u64>) -> bool {
        at.is_some_and(|at| at <= self.activity.now())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;
    use crate::conn::ConnectionGuard;

    const SECOND: u64 = 1_000_000;

    fn limits() -> Limits {
        Limits::http1(&ListenerSettings::default())
    }

    #[test]
    fn each_state_has_its_deadline() {
        let seen = Seen {
            received: 1,
            idle_since: 7 * SECOND,
            ..Seen::default()
        };
        let table = [
            (Seen::default(), None, Some((10 * SECOND, Expiry::Opening))),
            (seen, None, Some((3607 * SECOND, Expiry::Idle))),
            (
                Seen {
                    head_since: Some(8 * SECOND),
                    ..seen
                },
                None,
                Some((18 * SECOND, Expiry::Head)),
            ),
            (
                Seen {
                    in_flight: true,
                    ..seen
                },
                None,
                None,
            ),
            (
                Seen {
                    in_flight: true,
                    blocked_since: Some(SECOND),
                    ..seen
                },
                None,
                Some((31 * SECOND, Expiry::Write)),
            ),
            (seen, Some(9 * SECOND), Some((14 * SECOND, Expiry::Closing))),
            (seen, Some(2 * SECOND), Some((12 * SECOND, Expiry::Closing))),
            (
                Seen {
                    in_flight: true,
                    ..seen
                },
                Some(SECOND),
                None,
            ),
        ];
        for (seen, closing, expected) in table {
            let told = Told {
                closing,
                ..Told::default()
            };
            assert_eq!(expiry(&seen, &limits(), told), expected, "{seen:?}");
        }
    }

    #[test]
    fn the_earlier_of_head_and_request_limit_counts() {
        let mut settings = ListenerSettings::default();
        settings.timeouts.request = Some(Duration::from_secs(2));
        let seen = Seen {
            received: 1,
            head_since: Some(SECOND),
            ..Seen::default()
        };

        let short = expiry(&seen, &Limits::http1(&settings), Told::default());
        settings.timeouts.request = Some(Duration::from_secs(60));
        let long = expiry(&seen, &Limits::http1(&settings), Told::default());
        settings.timeouts.request = None;
        settings.timeouts.request_headers = None;
        let none = expiry(&seen, &Limits::http1(&settings), Told::default());

        assert_eq!(short, Some((3 * SECOND, Expiry::Request)));
        assert_eq!(long, Some((11 * SECOND, Expiry::Head)));
        assert_eq!(none, None);
    }

    #[test]
    fn an_age_limit_holds_during_requests_and_once() {
        let mut settings = ListenerSettings::default();
        settings.limits.max_duration = Some(Duration::from_secs(5));
        let limits = Limits::http1(&settings);
        let seen = Seen {
            received: 1,
            in_flight: true,
            ..Seen::default()
        };

        let aged = Told {
            aged: true,
            ..Told::default()
        };
        let first = expiry(&seen, &limits, Told::default());
        assert_eq!(first, Some((5 * SECOND, Expiry::Age)));
        assert_eq!(expiry(&seen, &limits, aged), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moved_away_is_met_later() {
        let activity = Arc::new(Activity::new(
            ConnectionGuard::for_tests(),
            Drain::new(),
            None,
        ));
        let mut timers = Timers::new(activity.clone(), limits(), &Drain::new());
        let start = Instant::now();
        let touch = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            activity.note_read(100, true);
        };

        let (signal, ()) = tokio::join!(std::future::poll_fn(|cx| timers.poll(cx)), touch);

        assert_eq!(signal, Signal::Expired(Expiry::Head));
        assert_eq!(start.elapsed().as_secs(), 19);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_told_once_and_then_bounded() {
        let drain = Drain::new();
        let activity = Arc::new(Activity::new(
            ConnectionGuard::for_tests(),
            Drain::new(),
            None,
        ));
        let mut timers = Timers::new(activity.clone(), limits(), &drain);
        activity.note_read(1, false);
        drain.start();

        let first = std::future::poll_fn(|cx| timers.poll(cx)).now_or_never();
        let second = std::future::poll_fn(|cx| timers.poll(cx)).await;

        assert_eq!(first, Some(Signal::Drain));
        assert_eq!(second, Signal::Expired(Expiry::Closing));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_said_nothing_yet_is_given_a_moment_to_drain() {
        let drain = Drain::new();
        let activity = Arc::new(Activity::new(
            ConnectionGuard::for_tests(),
            Drain::new(),
            None,
        ));
        let mut timers = Timers::new(activity.clone(), limits(), &drain);
        drain.start();
        let start = Instant::now();

        let signal = std::future::poll_fn(|cx| timers.poll(cx)).await;

        assert_eq!(signal, Signal::Drain);
        assert!(start.elapsed() >= GRACE);
    }
}
