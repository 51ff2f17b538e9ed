//! Small things that a connection carries from its first to its last moment.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::ListenerConfig;
use super::drain::Drain;
use crate::observer::{Event, Observer};

/// Counts an open connection: for metrics, for the [`Drain`], and for its listener's limit.
pub struct Open {
    observer: Arc<dyn Observer>,
    port: u16,
    listener: Option<Arc<AtomicU64>>,
    _running: TaskTrackerToken,
}

impl Open {
    /// A connection was accepted on `port`.
    pub fn new(port: u16, observer: Arc<dyn Observer>, drain: &Drain) -> Self {
        observer.observe(&Event::ConnectionOpened(port));
        Self {
            observer,
            port,
            listener: None,
            _running: drain.token(),
        }
    }

    /// Counts the connection for its listener; `false`, and not counted, if the limit is reached.
    #[must_use]
    pub fn admit(&mut self, listener: &ListenerConfig) -> bool {
        let limit = listener.settings.limits.connections.unwrap_or(u64::MAX);
        let counter = &listener.connections;
        if counter.fetch_add(1, Ordering::Relaxed) >= limit {
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

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("port", &self.port).finish()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(counter) = &self.listener {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        self.observer.observe(&Event::ConnectionClosed(self.port));
    }
}

/// Waits until then; for ever without a deadline.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Says, at most once in ten seconds, why every request of a load balancer fails.
pub(crate) fn warn_unexpected_proxy(port: u16, peer: SocketAddr, version: u8) {
    static LAST: RateLimit = RateLimit::new(Duration::from_secs(10));
    if LAST.pass() {
        tracing::warn!(
            port,
            %peer,
            "a connection begins with a PROXY protocol v{version} header, but the listener has no \
             proxyProtocol policy: set ClientTrafficPolicy proxyProtocol, or switch it off in the sender"
        );
    }
}

/// Lets one call pass per interval.
pub(crate) struct RateLimit {
    interval: Duration,
    /// Milliseconds since the first call of any, plus one; 0: never.
    last: AtomicU64,
}

impl RateLimit {
    /// One per `interval`.
    pub(crate) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: AtomicU64::new(0),
        }
    }

    /// Whether this call may pass.
    pub(crate) fn pass(&self) -> bool {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let now = START
            .get_or_init(std::time::Instant::now)
            .elapsed()
            .as_millis() as u64
            + 1;
        let last = self.last.load(Ordering::Relaxed);
        (last == 0 || now - last >= self.interval.as_millis() as u64)
            && self
                .last
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::settings::ListenerSettings;

    #[test]
    fn the_limit_counts_living_connections_only() {
        let mut settings = ListenerSettings::default();
        settings.limits.connections = Some(1);
        let listener = ListenerConfig {
            id: Default::default(),
            settings: Arc::new(settings),
            tls: None,
            clients: None,
            connections: Arc::default(),
            streams: None,
        };
        let (mut a, mut b) = (Open::for_tests(), Open::for_tests());

        assert!(a.admit(&listener));
        assert!(!b.admit(&listener));
        drop(a);
        assert!(b.admit(&listener));
        drop(b);
        assert_eq!(listener.connections.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_call_passes_per_interval() {
        let often = RateLimit::new(Duration::ZERO);
        let rarely = RateLimit::new(Duration::from_secs(3600));

        assert!(often.pass() && often.pass());
        assert!(rarely.pass() && !rarely.pass());
    }
}
