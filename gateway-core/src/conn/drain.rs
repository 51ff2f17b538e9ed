//! Graceful shutdown.
//!
//! All parts of the gateway that accept or serve connections have a clone of the [`Drain`]. The shutdown has
//! two steps, so that load balancers can remove the gateway before connections are closed:
//!
//! 1. [`Drain::leave`]: health checks return 503. Nothing else changes.
//! 2. [`Drain::start`]: no further connection is accepted, and idle connections are closed. Responses to
//!    requests in flight contain `Connection: close` or follow a GOAWAY. Tunnels continue.
//!
//! [`Drain::drained`] waits until all connections are closed. Each port has a [`Drain::child`], which can be
//! started separately. Both steps are irreversible.

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

/// Time for which a connection without a received byte stays open after [`Drain::start`], because its first
/// request may be in transit.
const GRACE: Duration = Duration::from_millis(500);

/// Replaces [`GRACE`] after [`Drain::hand_over`]. It is longer, because another process accepts connections
/// then, so this process need not exit soon.
const HAND_OVER_GRACE: Duration = Duration::from_secs(5);

/// Signal that starts the graceful shutdown. It also counts open connections.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    parent: Option<Drain>,
    leaving: AtomicBool,
    draining: AtomicBool,
    handed_over: AtomicBool,
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Drain {
    /// Creates a drain that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a child. It can be started separately, and also starts when this drain starts.
    /// [`Self::drained`] of this drain also waits for the connections of the child.
    pub fn child(&self) -> Self {
        Self(Arc::new(Inner {
            parent: Some(self.clone()),
            token: self.0.token.child_token(),
            tracker: self.0.tracker.clone(),
            ..Inner::default()
        }))
    }

    /// Makes health checks fail. Serving continues.
    pub fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::leave`] or [`Self::start`] was called, so that health checks return 503. Remains false
    /// after [`Self::hand_over`].
    pub fn is_leaving(&self) -> bool {
        let draining = self.0.draining.load(Ordering::Acquire);
        self.0.leaving.load(Ordering::Relaxed)
            || (draining && !self.0.handed_over.load(Ordering::Relaxed))
            || self.0.parent.as_ref().is_some_and(Self::is_leaving)
    }

    /// Stops accepting connections, and closes each connection once it is idle.
    pub fn start(&self) {
        // The flag must be set before the token wakes tasks, because they check the flag.
        self.0.draining.store(true, Ordering::Release);
        self.0.token.cancel();
    }

    /// As [`Self::start`], but another process accepts connections from then on. Health checks remain
    /// successful, because clients can continue to use the address.
    pub fn hand_over(&self) {
        self.0.handed_over.store(true, Ordering::Relaxed);
        self.start();
    }

    /// Whether [`Self::start`] was called on this drain or a parent.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
            || self.0.parent.as_ref().is_some_and(Self::is_draining)
    }

    /// Counts a connection, or a socket that accepts connections, until the token is dropped.
    pub fn token(&self) -> TaskTrackerToken {
        self.0.tracker.token()
    }

    /// Number of tokens in use, including the tokens of all parents and children of this drain. Tokens
    /// represent open connections and sockets that accept connections.
    pub fn running(&self) -> usize {
        self.0.tracker.len()
    }

    /// Waits until all tokens are dropped, then returns `true`. Returns `false` if `deadline` is reached
    /// before. Should be called after [`Self::start`].
    pub async fn drained(&self, deadline: Instant) -> bool {
        self.0.tracker.close();
        let ended = tokio::time::timeout_at(deadline, self.0.tracker.wait()).await;
        ended.is_ok() || self.0.tracker.is_empty()
    }

    /// Waits for [`Self::start`].
    pub async fn started(&self) {
        self.0.token.cancelled().await;
    }

    /// Waits for [`Self::start`], then for the time [`Self::grace`], during which the first bytes of a
    /// connection may still arrive.
    pub(crate) async fn overdue(&self) {
        self.started().await;
        tokio::time::sleep(self.grace()).await;
    }

    /// Time for which a connection without a received byte stays open after the drain has started.
    pub(crate) fn grace(&self) -> Duration {
        match self.is_handed_over() {
            true => HAND_OVER_GRACE,
            false => GRACE,
        }
    }

    fn is_handed_over(&self) -> bool {
        let parent = self.0.parent.as_ref();
        self.0.handed_over.load(Ordering::Relaxed) || parent.is_some_and(Self::is_handed_over)
    }

    /// The equivalent of [`Self::started`] for a task that is polled often.
    pub(crate) fn watch(&self) -> DrainWatch {
        DrainWatch {
            wait: Box::pin(self.0.token.clone().cancelled_owned()),
            waker: None,
            drain: self.clone(),
        }
    }
}

/// Waits for the start of a [`Drain`]. Most polls do not lock the token.
#[derive(Debug)]
pub(crate) struct DrainWatch {
    drain: Drain,
    wait: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Waker that is registered with the token.
    waker: Option<Waker>,
}

impl DrainWatch {
    /// As [`Drain::grace`].
    pub(crate) fn grace(&self) -> Duration {
        self.drain.grace()
    }

    /// Ready once the drain has started. May be polled again after that.
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
    fn a_child_starts_with_its_parent_and_not_vice_versa() {
        let parent = Drain::new();
        let (a, b) = (parent.child(), parent.child());

        a.start();

        assert!(a.is_draining() && a.is_leaving());
        assert!(!parent.is_draining() && !b.is_draining());
        parent.start();
        assert!(b.is_draining());
    }

    #[test]
    fn leaving_extends_to_children_and_is_not_draining() {
        let parent = Drain::new();
        let child = parent.child();

        parent.leave();

        assert!(child.is_leaving());
        assert!(!child.is_draining());
    }

    #[test]
    fn a_drain_that_is_handed_over_does_not_leave() {
        let parent = Drain::new();
        let child = parent.child();

        parent.hand_over();

        assert!(child.is_draining() && parent.is_draining());
        assert!(!child.is_leaving() && !parent.is_leaving());
    }

    #[tokio::test(start_paused = true)]
    async fn drained_waits_for_tokens_until_the_deadline() {
        let drain = Drain::new();
        let token = drain.child().token();
        drain.start();

        assert!(!drain.drained(Instant::now() + Duration::from_secs(5)).await);
        drop(token);
        assert!(drain.drained(Instant::now() + Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_watch_wakes_the_task_that_polled_it_last() {
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
