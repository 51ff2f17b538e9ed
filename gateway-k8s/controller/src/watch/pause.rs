//! Pauses between attempts: growing, never equal for all who wait, and never long.

use std::time::Duration;

/// The first pause.
const SHORTEST: Duration = Duration::from_millis(200);
/// No pause is longer, if nothing else is said: what changed while the API server was away is known soon
/// after.
pub(super) const LONGEST: Duration = Duration::from_secs(3);

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Pause {
    /// Pauses of at most `longest`.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self {
            next: SHORTEST,
            longest,
        }
    }

    /// The next pause: up to a half of it is left to chance.
    pub(crate) fn next(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.longest);
        base.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_differ() {
        let mut pause = Pause::default();

        let pauses: Vec<_> = (0..8).map(|_| pause.next()).collect();

        assert!(pauses[0] >= SHORTEST / 2 && pauses[0] <= SHORTEST);
        assert!(pauses[7] >= LONGEST / 2 && pauses[7] <= LONGEST);
        assert_ne!(pauses[6], pauses[7]);
    }
}
