//! The timers of a connection that the codec does not have.
//!
//! [`expiry`] is the rule: from what was [seen](Seen) on a connection and its [`Limits`] it tells
//! when the connection has to end, and why. [`Timers`] waits: it has one timer, which is only set
//! anew when it fires or when a deadline comes to lie before it. A request that goes well touches
//! no timer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::activity::Activity;
use crate::conn::drain::{self, Drain};
use crate::plan::ListenerSettings;

/// The shortest time for the first byte, since clients open connections ahead of need.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is to be sent.
const WRITE: Duration = Duration::from_secs(30);
/// How long an idle connection may take to end after it was asked to.
const CLOSING: Duration = Duration::from_secs(5);
/// Stands for no timer; tokio cannot wait for ever.
const FAR: Duration = Duration::from_secs(86400 * 30);

/// How long a connection may be in which state; `None`: no limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    /// Bytes after which the opening is over: 1, or 24 for HTTP/2.
    pub(crate) opening: u64,
    /// Time for the opening.
    pub(crate) first_byte: Option<Duration>,
    head: Option<(Duration, Expiry)>,
    idle: Option<Duration>,
    age: Option<Duration>,
}

impl Limits {
    /// Those of a listener.
    pub(crate) fn new(settings: &ListenerSettings, opening: u64) -> Self {
        let timeouts = &settings.timeouts;
        let head = timeouts.request_headers.map(|t| (t, Expiry::Head));
        let request = timeouts.request.map(|t| (t, Expiry::Request));
        Self {
            opening,
            first_byte: earlier(
                timeouts.request_headers.map(|t| t.max(FIRST_BYTE)),
                timeouts.idle,
            ),
            head: match (head, request) {
                (Some(head), Some(request)) if request.0 < head.0 => Some(request),
                (head, request) => head.or(request),
            },
            idle: timeouts.idle,
            age: settings.limits.max_duration,
        }
    }
}

fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
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
    /// Since when the head of a request has been incomplete.
    pub(crate) head_since: Option<u64>,
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
    /// No request came.
    Idle,
    /// The client takes nothing of what is sent.
    Write,
    /// It was asked to end and does not.
    Closing,
    /// It has reached its maximum age.
    Age,
}

/// When a connection has to end, in microseconds since it was opened, and why. `closing`: since
/// when it has been asked to end.
fn expiry(seen: &Seen, limits: &Limits, closing: Option<u64>) -> Option<(u64, Expiry)> {
    let after = |since: u64, limit: Option<Duration>, why| {
        limit.map(|limit| (since.saturating_add(limit.as_micros() as u64), why))
    };
    let state = if seen.received < limits.opening && !seen.in_flight {
        after(0, limits.first_byte, Expiry::Opening)
    } else if let Some(since) = seen.head_since {
        let (limit, why) = limits.head.unzip();
        after(since, limit, why.unwrap_or(Expiry::Head))
    } else if seen.in_flight {
        None
    } else {
        after(seen.idle_since, limits.idle, Expiry::Idle)
    };
    let write = seen
        .blocked_since
        .and_then(|since| after(since, Some(WRITE), Expiry::Write));
    let age = match closing {
        None => after(0, limits.age, Expiry::Age),
        Some(_) if seen.in_flight => None,
        Some(since) => after(since.max(seen.idle_since), Some(CLOSING), Expiry::Closing),
    };
    [state, write, age]
        .into_iter()
        .flatten()
        .min_by_key(|e| e.0)
}

/// What the driver of a connection has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// End when the running requests have. Given once.
    Drain,
    /// [`Expiry::Age`] has come. Given once.
    Aged,
    /// End now.
    Expired(Expiry),
}

/// Waits for the deadlines and the drain of one connection.
#[derive(Debug)]
pub(crate) struct Timers {
    activity: Arc<Activity>,
    limits: Limits,
    sleep: Pin<Box<Sleep>>,
    drain: Option<drain::Watch>,
    closing: Option<u64>,
}

impl Timers {
    /// Starts with the connection.
    pub(crate) fn new(activity: Arc<Activity>, limits: Limits, drain: &Drain) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(FAR)),
            drain: Some(drain.watch()),
            closing: None,
            activity,
            limits,
        }
    }

    /// To be polled after the codec, as the codec's work moves the deadlines.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        if self.drain.as_mut().is_some_and(|d| d.poll(cx).is_ready()) {
            self.drain = None;
            self.note_closing();
            return Poll::Ready(Signal::Drain);
        }
        loop {
            let next = expiry(&self.activity.seen(), &self.limits, self.closing);
            let at = next.map(|(at, _)| self.activity.instant(at));
            if at.is_some_and(|at| at < self.sleep.deadline()) {
                self.set(at);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match next {
                Some((at, Expiry::Age)) if at <= self.activity.now() => {
                    self.note_closing();
                    return Poll::Ready(Signal::Aged);
                }
                Some((at, why)) if at <= self.activity.now() => {
                    return Poll::Ready(Signal::Expired(why));
                }
                _ => self.set(at),
            }
        }
    }

    /// The connection has been asked to end.
    pub(crate) fn note_closing(&mut self) {
        if self.closing.is_none() {
            self.closing = Some(self.activity.now());
        }
    }

    fn set(&mut self, at: Option<Instant>) {
        let at = at.unwrap_or_else(|| Instant::now() + FAR);
        self.sleep.as_mut().reset(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn limits() -> Limits {
        Limits::new(&ListenerSettings::default(), 1)
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
            assert_eq!(expiry(&seen, &limits(), closing), expected, "{seen:?}");
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

        let short = expiry(&seen, &Limits::new(&settings, 1), None);
        settings.timeouts.request = Some(Duration::from_secs(60));
        let long = expiry(&seen, &Limits::new(&settings, 1), None);
        settings.timeouts.request = None;
        settings.timeouts.request_headers = None;
        let none = expiry(&seen, &Limits::new(&settings, 1), None);

        assert_eq!(short, Some((3 * SECOND, Expiry::Request)));
        assert_eq!(long, Some((11 * SECOND, Expiry::Head)));
        assert_eq!(none, None);
    }

    #[test]
    fn an_age_limit_holds_during_requests_and_once() {
        let mut settings = ListenerSettings::default();
        settings.limits.max_duration = Some(Duration::from_secs(5));
        let limits = Limits::new(&settings, 1);
        let seen = Seen {
            received: 1,
            in_flight: true,
            ..Seen::default()
        };

        assert_eq!(
            expiry(&seen, &limits, None),
            Some((5 * SECOND, Expiry::Age))
        );
        assert_eq!(expiry(&seen, &limits, Some(5 * SECOND)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moved_away_is_met_later() {
        let activity = Arc::new(Activity::new(crate::conn::Open::for_tests(), None));
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
        let activity = Arc::new(Activity::new(crate::conn::Open::for_tests(), None));
        let mut timers = Timers::new(activity.clone(), limits(), &drain);
        drain.start();

        let first = std::future::poll_fn(|cx| timers.poll(cx)).await;
        let second = std::future::poll_fn(|cx| timers.poll(cx)).await;

        assert_eq!(first, Signal::Drain);
        assert_eq!(second, Signal::Expired(Expiry::Closing));
    }
}
