//! Counts of the last requests, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Number of parts of a window. The oldest part is dropped as a whole.
const PARTS: usize = 10;

/// Number of requests, and number of successes among them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) successes: u64,
}

/// Counts of a sliding window. A request that arrives while a part is renewed is possibly not counted. The
/// effect on the rate is negligible.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    part: Duration,
    parts: [Part; PARTS],
}

/// Counts of a part of the window.
#[derive(Debug, Default)]
struct Part {
    /// Number of the period in which the requests of this part were counted, starting at 1.
    period: AtomicU64,
    requests: AtomicU64,
    successes: AtomicU64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            start: Instant::now(),
            part: (length / PARTS as u32).max(Duration::from_millis(1)),
            parts: Default::default(),
        }
    }

    /// Counts a request.
    pub(super) fn record(&self, success: bool) {
        let period = self.period();
        let part = &self.parts[index(period)];
        let known = part.period.load(Ordering::Acquire);
        let order = (Ordering::AcqRel, Ordering::Acquire);
        if known != period
            && part
                .period
                .compare_exchange(known, period, order.0, order.1)
                .is_ok()
        {
            part.requests.store(0, Ordering::Relaxed);
            part.successes.store(0, Ordering::Relaxed);
        }
        part.requests.fetch_add(1, Ordering::Relaxed);
        part.successes
            .fetch_add(u64::from(success), Ordering::Relaxed);
    }

    /// The counts of the window.
    pub(super) fn counts(&self) -> Counts {
        let period = self.period();
        let oldest = period.saturating_sub(PARTS as u64 - 1);
        let mut counts = Counts::default();
        for part in &self.parts {
            if (oldest..=period).contains(&part.period.load(Ordering::Acquire)) {
                counts.requests += part.requests.load(Ordering::Relaxed);
                counts.successes += part.successes.load(Ordering::Relaxed);
            }
        }
        counts
    }

    fn period(&self) -> u64 {
        let periods = self.start.elapsed().as_nanos() / self.part.as_nanos();
        u64::try_from(periods).unwrap_or(u64::MAX - 1) + 1
    }
}

fn index(period: u64) -> usize {
    usize::try_from(period % PARTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_leave_the_window_part_by_part() {
        let window = Window::new(Duration::from_secs(10));
        assert_eq!(window.counts(), Counts::default());
        window.record(true);
        tokio::time::advance(Duration::from_secs(5)).await;
        window.record(false);

        let counts = |requests, successes| Counts {
            requests,
            successes,
        };
        assert_eq!(window.counts(), counts(2, 1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(window.counts(), counts(1, 0));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(window.counts(), counts(0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_renewed_after_a_long_silence() {
        let window = Window::new(Duration::from_secs(10));
        window.record(true);
        tokio::time::advance(Duration::from_secs(1000)).await;

        window.record(false);

        assert_eq!(window.counts().requests, 1);
    }
}
