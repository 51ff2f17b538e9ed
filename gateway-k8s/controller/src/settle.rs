//! When a burst of changes is over: soon after its last one, and not for ever after its first.

use std::time::Duration;

use tokio::time::Instant;

/// A burst is over when nothing has come for this long...
const QUIET: Duration = Duration::from_millis(60);
/// ... or when it began this long ago.
const LONGEST: Duration = Duration::from_secs(1);

/// A burst of changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    first: Instant,
    last: Instant,
}

impl Burst {
    /// A burst that begins now.
    pub(crate) fn begin(now: Instant) -> Self {
        Self {
            first: now,
            last: now,
        }
    }

    /// Another change.
    pub(crate) fn goes_on(&mut self, now: Instant) {
        self.last = now;
    }

    /// When it is over if no change comes.
    pub(crate) fn ends(&self) -> Instant {
        (self.last + QUIET).min(self.first + LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_ends_after_a_quiet_moment_or_a_second() {
        let start = Instant::now();
        let mut burst = Burst::begin(start);
        assert_eq!(burst.ends(), start + QUIET);

        burst.goes_on(start + QUIET / 2);
        assert_eq!(burst.ends(), start + QUIET + QUIET / 2);

        burst.goes_on(start + LONGEST - QUIET / 4);
        assert_eq!(burst.ends(), start + LONGEST);
    }
}
