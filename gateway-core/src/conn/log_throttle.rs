//! Rate limit for log lines that clients can trigger.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Allows one log line per interval.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    /// Time of the last allowed line: milliseconds since the first call of any throttle, plus one. 0: no line
    /// was allowed yet.
    last: AtomicU64,
}

impl LogThrottle {
    /// Creates a throttle that allows one line per `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: AtomicU64::new(0),
        }
    }

    /// Returns whether a line may be logged now. If so, the next line is allowed after the interval.
    pub fn allows(&self) -> bool {
        static START: OnceLock<Instant> = OnceLock::new();
        let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1;
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

    #[test]
    fn one_line_is_allowed_per_interval() {
        let often = LogThrottle::new(Duration::ZERO);
        let rarely = LogThrottle::new(Duration::from_secs(3600));

        assert!(often.allows() && often.allows());
        assert!(rarely.allows() && !rarely.allows());
    }
}
