//! Exponential backoff with jitter.

use std::time::Duration;

/// Upper bound of the first pause.
const SHORTEST: Duration = Duration::from_millis(200);
/// Default upper bound of all pauses. It limits the delay of changes after an outage of the API server.
pub(super) const LONGEST: Duration = Duration::from_secs(3);

/// The backoff of one operation.
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
    /// A backoff with pauses of at most `longest`.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self {
            next: SHORTEST,
            longest,
        }
    }

    /// The next pause. Up to half of its length is random.
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
    fn pauses_grow_to_the_upper_bound_and_are_random() {
        let mut pause = Pause::default();

        let pauses: Vec<_> = (0..8).map(|_| pause.next()).collect();

        assert!(pauses[0] >= SHORTEST / 2 && pauses[0] <= SHORTEST);
        assert!(pauses[7] >= LONGEST / 2 && pauses[7] <= LONGEST);
        assert_ne!(pauses[6], pauses[7]);
    }
}
