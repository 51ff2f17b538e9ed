//! A timer that is set for every request, and hardly ever rings.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for a time that may change with each poll, as the times of requests do that follow each other.
///
/// Setting a timer costs more than looking at one. So this one is only set anew for an earlier time. For a
/// later one it is left as it is, and set once it rings too early, which is seldom: the times of a thousand
/// requests that may each take 15 s cost one timer, not a thousand.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// The waker that it knows.
    waker: Option<Waker>,
}

impl Alarm {
    /// To be asked for `at`, or another time.
    pub(crate) fn new(at: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(at)),
            waker: None,
        }
    }

    /// Ready at `at`. Before, the task may be woken in vain.
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
        // One that has rung has forgotten whom.
        self.waker = None;
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let known = self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        if known && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // Also if the task should give way to others by now, or the timer would not know its waker.
        let sleep = pin!(tokio::task::unconstrained(self.sleep.as_mut()));
        let rung = sleep.poll(cx);
        self.waker = rung.is_pending().then(|| cx.waker().clone());
        rung
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_time_that_was_asked_for_last() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start + 5 * SECOND);
        let polled = |alarm: &mut Alarm, seconds| {
            let mut cx = Context::from_waker(Waker::noop());
            alarm.poll(start + seconds * SECOND, &mut cx).is_ready()
        };

        assert!(!polled(&mut alarm, 9));
        assert!(!polled(&mut alarm, 2), "an earlier time");
        tokio::time::advance(SECOND).await;
        assert!(!polled(&mut alarm, 3));
        poll_fn(|cx| alarm.poll(start + 7 * SECOND, cx)).await;
        assert_eq!(start.elapsed().as_secs(), 7, "a later time");
        assert!(polled(&mut alarm, 7), "it can be asked again");
        assert!(!polled(&mut alarm, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_whichever_task_asked_last() {
        let at = Instant::now() + SECOND;
        let mut alarm = Alarm::new(at);
        let first = poll_fn(|cx| Poll::Ready(alarm.poll(at, cx))).await;

        let task = tokio::spawn(async move { poll_fn(|cx| alarm.poll(at, cx)).await });

        assert!(first.is_pending());
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_for_a_task_that_has_used_up_its_turn() {
        let at = Instant::now() + SECOND;
        let mut alarm = Alarm::new(at);
        let spent = async {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::consume_budget().await;
            }
        };

        let task = async {
            spent.await;
            poll_fn(|cx| alarm.poll(at, cx)).await;
        };

        tokio::time::timeout(2 * SECOND, task).await.unwrap();
    }
}
