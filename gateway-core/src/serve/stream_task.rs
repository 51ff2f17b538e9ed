//! Tasks of HTTP/2 streams, with a time limit for clients that do not accept the response.
//!
//! hyper polls a response body only while the stream's flow-control window is open. While the window is
//! closed, timers in the body are not polled either. Therefore the task that polls a stream measures how long
//! its client accepts no data. When this time exceeds the limit, the task drops the stream, which resets it;
//! other streams of the connection continue.
//!
//! ```text
//! poll of the stream ──> response, or part of its body taken ──> waits for the client: timer
//!                   └──> body requested, not ready           ──> waits for the backend: no timer here
//!                   └──> body not polled                     ──> unchanged
//! ```
//!
//! The body reports to the task through a thread-local cell, because hyper creates the stream's future and
//! offers no other way to connect the two.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Instant;

use crate::reusable_timer::ReusableTimer;

/// The side for which the codec waits after the latest poll of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Report {
    /// The side from the previous report, because the body was not polled.
    None,
    /// The client: the codec has received a part of the response, which the client must accept.
    Client,
    /// The backend: the next part of the body is not available yet.
    Backend,
}

thread_local! {
    static REPORT: Cell<Report> = const { Cell::new(Report::None) };
    static CAUSE: Cell<Option<DropCause>> = const { Cell::new(None) };
}

/// Reason why a request is dropped before its response is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DropCause {
    /// The client accepts no data.
    ClientIdle,
    /// The client has reset the stream.
    ClientReset,
    /// The gateway has ended the connection because of an error of the client.
    ConnectionError,
}

/// Reports that the codec has received a part of the response: its head, or a frame of its body.
pub(super) fn report_part() {
    REPORT.set(Report::Client);
}

/// Reports that the codec requested a part of the body that is not available.
pub(super) fn report_wait() {
    REPORT.set(Report::Backend);
}

/// The reason why the current request is being dropped, if known.
pub(crate) fn drop_cause() -> Option<DropCause> {
    CAUSE.get()
}

/// Runs `drop`, which drops the parts of a request. Meanwhile [`drop_cause`] returns `cause`.
pub(super) fn drop_because<R>(cause: DropCause, drop: impl FnOnce() -> R) -> R {
    let outer = CAUSE.replace(Some(cause));
    let result = drop();
    CAUSE.set(outer);
    result
}

/// Executor of hyper's HTTP/2 streams.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    /// Maximum time for which a stream waits for its client.
    pub(super) limit: Duration,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(StreamTask::new(stream, self.limit));
    }
}

/// One stream with its timer.
struct StreamTask<F> {
    /// `None` once the time limit has expired.
    stream: Option<Pin<Box<F>>>,
    limit: Duration,
    waits_since: Option<Instant>,
    timer: Option<ReusableTimer>,
}

impl<F: Future<Output = ()>> StreamTask<F> {
    fn new(stream: F, limit: Duration) -> Self {
        Self {
            stream: Some(Box::pin(stream)),
            limit,
            waits_since: None,
            timer: None,
        }
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(());
        };
        REPORT.set(Report::None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match REPORT.get() {
            Report::None => {}
            Report::Client => this.waits_since = Some(Instant::now()),
            Report::Backend => this.waits_since = None,
        }
        let Some(since) = this.waits_since else {
            return Poll::Pending;
        };
        let at = since + this.limit;
        let timer = this.timer.get_or_insert_with(|| ReusableTimer::new(at));
        if timer.poll(at, cx).is_pending() {
            return Poll::Pending;
        }
        drop_because(DropCause::ClientIdle, || this.stream = None);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// A stream that makes one report per poll, and wakes itself after the given times.
    struct Script {
        steps: Vec<(Report, Duration)>,
        sleep: Option<Pin<Box<tokio::time::Sleep>>>,
        dropped: Arc<Mutex<Option<(Instant, bool)>>>,
    }

    impl Future for Script {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            loop {
                if let Some(sleep) = &mut self.sleep
                    && sleep.as_mut().poll(cx).is_pending()
                {
                    return Poll::Pending;
                }
                if self.steps.is_empty() {
                    return Poll::Ready(());
                }
                let (report, time) = self.steps.remove(0);
                if report != Report::None {
                    REPORT.set(report);
                }
                self.sleep = Some(Box::pin(tokio::time::sleep(time)));
            }
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            *self.dropped.lock().unwrap() = Some((Instant::now(), drop_cause().is_some()));
        }
    }

    const LIMIT: Duration = Duration::from_secs(5);

    /// Returns the seconds from the start of the stream to its end, and whether its time limit expired.
    fn run(steps: &[(Report, u64)]) -> (u64, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = Instant::now();
            let dropped = Arc::default();
            let steps = steps
                .iter()
                .map(|(report, seconds)| (*report, Duration::from_secs(*seconds)));
            let script = Script {
                steps: steps.collect(),
                sleep: None,
                dropped: Arc::clone(&dropped),
            };
            StreamTask::new(script, LIMIT).await;
            let (at, expired) = dropped.lock().unwrap().unwrap();
            ((at - start).as_secs(), expired)
        })
    }

    /// Reference implementation: the first time at which the client has accepted no data for `LIMIT`, or else
    /// the end of the stream.
    fn model(steps: &[(Report, u64)]) -> (u64, bool) {
        let (mut now, mut since) = (0, None);
        for (report, seconds) in steps {
            match report {
                Report::None => {}
                Report::Client => since = Some(now),
                Report::Backend => since = None,
            }
            now += seconds;
            if let Some(since) = since
                && now > since + LIMIT.as_secs()
            {
                return (since + LIMIT.as_secs(), true);
            }
        }
        (now, false)
    }

    proptest! {
        #[test]
        fn a_stream_ends_when_its_client_has_accepted_nothing_for_the_limit(
            steps in prop::collection::vec(
                (prop::sample::select(vec![Report::None, Report::Client, Report::Backend]), 1u64..9),
                0..8,
            ),
        ) {
            // Times must differ: if the limit and a report coincide, the order of timers would decide.
            let mut at = 0;
            let mut since = None;
            for (report, seconds) in &steps {
                match report {
                    Report::Client => since = Some(at),
                    Report::Backend => since = None,
                    Report::None => {}
                }
                at += seconds;
                prop_assume!(since.is_none_or(|since| at != since + LIMIT.as_secs()));
            }

            prop_assert_eq!(run(&steps), model(&steps));
        }
    }
}
