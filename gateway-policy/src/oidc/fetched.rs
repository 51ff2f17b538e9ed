//! A fetched document, which is used until it expires.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use towergate_core::conn::LogThrottle;

/// Time for which a document is used before it is fetched again.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Time between a failed fetch and the next.
const RETRY: Duration = Duration::from_secs(2);

/// A document that is fetched when it is needed. If a later fetch fails, the last good document stays in use.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    current: ArcSwapOption<T>,
    /// The reason why the last fetch failed. Empty after a success.
    error: ArcSwapOption<String>,
    /// Limits log lines about failed fetches while a document is kept.
    kept: LogThrottle,
    /// Locked while the document is fetched.
    fetching: Mutex<()>,
    started: Instant,
    /// Time of the last fetch, in milliseconds since `started`.
    last: AtomicU64,
    /// Milliseconds since `started` after which the document is fetched again.
    due: AtomicU64,
}

impl<T> Fetched<T> {
    /// Creates the value without a document.
    pub(super) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            error: ArcSwapOption::empty(),
            kept: LogThrottle::new(Duration::from_secs(60)),
            fetching: Mutex::new(()),
            started: Instant::now(),
            last: AtomicU64::new(0),
            due: AtomicU64::new(0),
        }
    }

    /// The document. If a fetch is due, one caller awaits `fetch`. Other callers use the last document, or
    /// wait if there is none. `None` if no document could be fetched.
    pub(super) async fn load(
        &self,
        what: &str,
        fetch: impl Future<Output = Result<T, String>>,
    ) -> Option<Arc<T>> {
        let known = self.current.load_full();
        if !self.is_due() {
            return known;
        }
        let _guard = match known {
            Some(known) => match self.fetching.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Some(known),
            },
            None => self.fetching.lock().await,
        };
        if self.is_due() {
            let wait = match fetch.await {
                Ok(value) => {
                    self.current.store(Some(Arc::new(value)));
                    self.error.store(None);
                    LIFETIME
                }
                Err(error) => {
                    // If there is no document, the policies that need the document log the failure.
                    if self.current.load().is_some() && self.kept.allows() {
                        tracing::warn!(error, "{what} could not be fetched; the last one is kept");
                    }
                    self.error.store(Some(Arc::new(format!(
                        "{what} could not be fetched: {error}"
                    ))));
                    RETRY
                }
            };
            let now = self.elapsed();
            let due = now.saturating_add(milliseconds(wait));
            self.last.store(now, Ordering::Release);
            self.due.store(due, Ordering::Release);
        }
        self.current.load_full()
    }

    /// The reason why there is no document. `None` before the first fetch, and if there is a document.
    pub(super) fn fault(&self) -> Option<String> {
        let error = self.error.load_full();
        let error = error.filter(|_| self.current.load().is_none())?;
        Some(error.to_string())
    }

    /// Schedules a fetch if the last one was more than `age` ago. Returns whether a fetch is due.
    pub(super) fn expire(&self, age: Duration) -> bool {
        let last = self.last.load(Ordering::Acquire);
        if self.elapsed().saturating_sub(last) > milliseconds(age) {
            self.due.store(0, Ordering::Release);
        }
        self.is_due()
    }

    fn is_due(&self) -> bool {
        self.elapsed() >= self.due.load(Ordering::Acquire)
    }

    fn elapsed(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn callers_share_one_fetch_and_keep_the_last_good_document() {
        let (document, fetches) = (Fetched::new(), AtomicUsize::new(0));
        let fetch = || async {
            fetches.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok("first")
        };

        let (one, two) = tokio::join!(document.load("x", fetch()), document.load("x", fetch()));
        assert_eq!((*one.unwrap(), *two.unwrap()), ("first", "first"));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        document.due.store(0, Ordering::Relaxed);
        let failed = document.load("x", async { Err("down".to_owned()) }).await;

        assert_eq!(*failed.unwrap(), "first");
        assert_eq!(document.fault(), None, "it works with the last one");
    }

    #[tokio::test]
    async fn a_document_that_was_never_fetched_is_a_fault_after_the_first_try() {
        let document = Fetched::<&str>::new();
        assert_eq!(document.fault(), None);

        document.load("x", async { Err("down".to_owned()) }).await;
        let fault = document.fault();
        document.due.store(0, Ordering::Relaxed);
        document.load("x", async { Ok("first") }).await;

        assert_eq!(fault.as_deref(), Some("x could not be fetched: down"));
        assert_eq!(document.fault(), None);
    }
}
