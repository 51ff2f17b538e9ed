//! How serving ends: nothing is cut off that can still finish.
//!
//! A [`Drain`] is cloned into everything that accepts or serves. It has two steps, so that a load
//! balancer can take its time to notice:
//!
//! 1. [`Drain::leave`]: health checks say 503, all else goes on.
//! 2. [`Drain::start`]: nothing more is accepted, idle connections close, running requests get
//!    their answers with `Connection: close` or after a GOAWAY, tunnels go on.
//!
//! [`Drain::drained`] waits for the end of it. A port has a [`Drain::child`], which can be drained
//! alone. No step is ever taken back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a connection on which nothing was said is kept after [`Drain::start`]: its first request
/// may be on its way.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// The signal to stop serving, and the count of what still runs.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    parent: Option<Drain>,
    leaving: AtomicBool,
    draining: AtomicBool,
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Drain {
    /// One that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that also starts when this one does, and that this one waits for.
    pub fn child(&self) -> Self {
        Self(Arc::new(Inner {
            parent: Some(self.clone()),
            token: self.0.token.child_token(),
            tracker: self.0.tracker.clone(),
            ..Inner::default()
        }))
    }

    /// Makes health checks fail; serving goes on.
    pub fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::leave`] or [`Self::start`] was called: health checks are answered 503.
    pub fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
            || self.is_draining()
            || self.0.parent.as_ref().is_some_and(Self::is_leaving)
    }

    /// Stops accepting and lets connections end.
    pub fn start(&self) {
        // The flag goes first: whoever the token wakes looks at the flag.
        self.0.draining.store(true, Ordering::Release);
        self.0.token.cancel();
    }

    /// Whether [`Self::start`] was called, here or on a parent.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
            || self.0.parent.as_ref().is_some_and(Self::is_draining)
    }

    /// Counts something as running for as long as the token lives.
    pub fn token(&self) -> TaskTrackerToken {
        self.0.tracker.token()
    }

    /// How many tokens of this one, its parents and their children live.
    pub fn running(&self) -> usize {
        self.0.tracker.len()
    }

    /// Waits until all that was counted has ended: `true`, or until `deadline`: `false`. Only
    /// meaningful after [`Self::start`].
    pub async fn drained(&self, deadline: Instant) -> bool {
        self.0.tracker.close();
        let ended = tokio::time::timeout_at(deadline, self.0.tracker.wait()).await;
        ended.is_ok() || self.0.tracker.is_empty()
    }

    /// Waits for [`Self::start`].
    pub async fn started(&self) {
        self.0.token.cancelled().await;
    }

    /// Waits for [`Self::start`] and a while more, in which first bytes may still come.
    pub(crate) async fn overdue(&self) {
        self.started().await;
        tokio::time::sleep(GRACE).await;
    }

    /// The same as [`Self::started`] for a task that is polled often.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            wait: Box::pin(self.0.token.clone().cancelled_owned()),
            waker: None,
            drain: self.clone(),
        }
    }
}

/// Tells a task that its [`Drain`] has started, without taking the token's lock on each poll.
#[derive(Debug)]
pub(crate) struct Watch {
    drain: Drain,
    wait: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The waker that the token knows.
    waker: Option<Waker>,
}

impl Watch {
    /// Ready once the drain has started; can be polled again then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.drain.is_draining() {
            return Poll::Ready(());
        }
        if self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        self.wait.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_starts_with_its_parent_but_not_the_other_way_round() {
        let parent = Drain::new();
        let (a, b) = (parent.child(), parent.child());

        a.start();

        assert!(a.is_draining() && a.is_leaving());
        assert!(!parent.is_draining() && !b.is_draining());
        parent.start();
        assert!(b.is_draining());
    }

    #[test]
    fn leaving_is_seen_by_children_and_is_not_draining() {
        let parent = Drain::new();
        let child = parent.child();

        parent.leave();

        assert!(child.is_leaving());
        assert!(!child.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn drained_waits_for_tokens_and_gives_up_at_the_deadline() {
        let drain = Drain::new();
        let token = drain.child().token();
        drain.start();

        assert!(!drain.drained(Instant::now() + Duration::from_secs(5)).await);
        drop(token);
        assert!(drain.drained(Instant::now() + Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_watch_wakes_whichever_task_polled_it_last() {
        let drain = Drain::new();
        let mut watch = drain.watch();
        let first = std::future::poll_fn(|cx| Poll::Ready(watch.poll(cx))).await;

        let task = tokio::spawn(async move { std::future::poll_fn(|cx| watch.poll(cx)).await });
        tokio::task::yield_now().await;
        drain.start();

        assert!(first.is_pending());
        task.await.unwrap();
    }
}
