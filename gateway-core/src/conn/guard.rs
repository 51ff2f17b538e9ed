//! Counts open connections, for metrics, the drain and connection limits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::drain::Drain;
use crate::observer::{Event, Observer};

/// Counts an open connection until dropped. The count is used for metrics, for the [`Drain`], and for the
/// connection limit of its listener.
pub struct ConnectionGuard {
    observer: Arc<dyn Observer>,
    port: u16,
    listener: Option<Arc<AtomicU64>>,
    _running: TaskTrackerToken,
}

impl ConnectionGuard {
    /// Counts a connection accepted on `port`.
    pub fn new(port: u16, observer: Arc<dyn Observer>, drain: &Drain) -> Self {
        observer.observe(&Event::ConnectionOpened(port));
        Self {
            observer,
            port,
            listener: None,
            _running: drain.token(),
        }
    }

    /// Counts the connection in `counter`, the number of open connections of its listener. If `limit` is
    /// reached, returns `false` and does not count the connection.
    #[must_use]
    pub fn admit(&mut self, counter: &Arc<AtomicU64>, limit: Option<u64>) -> bool {
        if counter.fetch_add(1, Ordering::Relaxed) >= limit.unwrap_or(u64::MAX) {
            counter.fetch_sub(1, Ordering::Relaxed);
            self.observer.observe(&Event::ConnectionRefused(self.port));
            return false;
        }
        self.listener = Some(counter.clone());
        true
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::new(0, Arc::new(()), &Drain::new())
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionGuard")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(counter) = &self.listener {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        self.observer.observe(&Event::ConnectionClosed(self.port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_limit_counts_open_connections_only() {
        let counter = Arc::default();
        let mut a = ConnectionGuard::for_tests();
        let mut b = ConnectionGuard::for_tests();

        assert!(a.admit(&counter, Some(1)));
        assert!(!b.admit(&counter, Some(1)));
        drop(a);
        assert!(b.admit(&counter, Some(1)));
        drop(b);
        assert_eq!(counter.load(Ordering::Relaxed), 0);
    }
}
