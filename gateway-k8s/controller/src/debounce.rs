//! Groups changes that arrive shortly after one another into a burst. A burst ends after 60 ms without a
//! change, or 1 s after its first change, whichever is earlier.

use std::time::Duration;

use tokio::time::Instant;

/// Time without changes that ends a burst.
const QUIET: Duration = Duration::from_millis(60);
/// Maximum length of a burst.
const MAX_LENGTH: Duration = Duration::from_secs(1);

/// A burst of changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Debounce {
    first: Instant,
    last: Instant,
}

impl Debounce {
    /// Starts a burst with its first change at `now`.
    pub(crate) fn begin(now: Instant) -> Self {
        Self {
            first: now,
            last: now,
        }
    }

    /// Adds a change.
    pub(crate) fn add_change(&mut self, now: Instant) {
        self.last = now;
    }

    /// The end of the burst if there are no further changes.
    pub(crate) fn deadline(&self) -> Instant {
        (self.last + QUIET).min(self.first + MAX_LENGTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_ends_after_the_quiet_time_or_after_a_second() {
        let start = Instant::now();
        let mut burst = Debounce::begin(start);
        assert_eq!(burst.deadline(), start + QUIET);

        burst.add_change(start + QUIET / 2);
        assert_eq!(burst.deadline(), start + QUIET + QUIET / 2);

        burst.add_change(start + MAX_LENGTH - QUIET / 4);
        assert_eq!(burst.deadline(), start + MAX_LENGTH);
    }
}
