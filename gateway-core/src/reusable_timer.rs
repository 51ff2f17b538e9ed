//! A timer that is set for every request and rarely fires.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Timer whose deadline may be different at each poll, for example for consecutive requests on a connection.
///
/// Resetting a timer is more expensive than polling it. If the deadline moves to an earlier time, the timer
/// is reset immediately. If the deadline moves to a later time, the timer fires too early and is reset only
/// then. Therefore a thousand consecutive requests with a timeout of 15 s rarely reset the timer.
#[derive(Debug)]
pub(crate) struct ReusableTimer {
    sleep: Pin<Box<Sleep>>,
    /// The waker that is registered with the timer.
    waker: Option<Waker>,
}

impl ReusableTimer {
    /// Creates a timer that fires at `at`, unless [`Self::poll`] is called with another time.
    pub(crate) fn new(at: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(at)),
            waker: None,
        }
    }

    /// Ready when the time `at` is reached. The task may be woken earlier.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if at < self.sleep.deadline() {
            self.set(at);
        }
        loop {
            ready!(self.poll_sleep(cx));
            if at <= self.sleep.deadline() {
                return Poll::Ready(());
            }
            self.set(at);
        }
    }

    fn set(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at);
        // The timer drops its waker when it fires, so the waker must be registered again.
        self.waker = None;
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let registered = self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        if registered && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // The timer is polled without the cooperative budget. If the budget were used up, the timer would not
        // register the waker.
        let sleep = pin!(tokio::task::unconstrained(self.sleep.as_mut()));
        let fired = sleep.poll(cx);
        self.waker = fired.is_pending().then(|| cx.waker().clone());
        fired
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_the_latest_requested_time() {
        let start = Instant::now();
        let mut timer = ReusableTimer::new(start + 5 * SECOND);
        let polled = |timer: &mut ReusableTimer, seconds| {
            let mut cx = Context::from_waker(Waker::noop());
            timer.poll(start + seconds * SECOND, &mut cx).is_ready()
        };

        assert!(!polled(&mut timer, 9));
        assert!(!polled(&mut timer, 2), "an earlier time");
        tokio::time::advance(SECOND).await;
        assert!(!polled(&mut timer, 3));
        poll_fn(|cx| timer.poll(start + 7 * SECOND, cx)).await;
        assert_eq!(start.elapsed().as_secs(), 7, "a later time");
        assert!(polled(&mut timer, 7), "it can be polled again");
        assert!(!polled(&mut timer, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_the_task_that_polled_last() {
        let at = Instant::now() + SECOND;
        let mut timer = ReusableTimer::new(at);
        let first = poll_fn(|cx| Poll::Ready(timer.poll(at, cx))).await;

        let task = tokio::spawn(async move { poll_fn(|cx| timer.poll(at, cx)).await });

        assert!(first.is_pending());
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_for_a_task_without_cooperative_budget() {
        let at = Instant::now() + SECOND;
        let mut timer = ReusableTimer::new(at);
        let exhaust_budget = async {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::consume_budget().await;
            }
        };

        let task = async {
            exhaust_budget.await;
            poll_fn(|cx| timer.poll(at, cx)).await;
        };

        tokio::time::timeout(2 * SECOND, task).await.unwrap();
    }
}
