//! A token bucket.
//!
//! A bucket stores only the time at which it will be full. A token is a span of time: taking a token moves
//! the stored time forward by this span. The stored time is at most the size of the bucket ahead of the
//! current time. A bucket is therefore one number, and taking a token is one compare-and-swap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Size and fill rate of a bucket. Times are nanoseconds since a fixed moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Tokens of a full bucket.
    tokens: u64,
    /// Time for one token, rounded up, so that the rate never exceeds the limit.
    token: u64,
}

/// Level of a bucket after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Level {
    /// Tokens of a full bucket.
    pub(super) limit: u64,
    /// Remaining whole tokens.
    pub(super) remaining: u64,
    /// Seconds until the bucket is full, rounded up.
    pub(super) reset: u64,
}

impl Rate {
    pub(super) fn new(requests: u32, period: Duration) -> Self {
        let tokens = u64::from(requests);
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Self {
            tokens,
            token: period.div_ceil(tokens.max(1)).max(1),
        }
    }

    /// Takes `cost` tokens from a bucket that is full at `full_at`. Returns the new `full_at`, or `None` if
    /// there are too few tokens. With a cost of 0, the bucket must contain a token, but none is taken.
    pub(super) fn take(&self, full_at: u64, now: u64, cost: u32) -> Option<u64> {
        let wanted = u64::from(cost.max(1));
        if wanted > self.tokens {
            return None;
        }
        let full_at = full_at.max(now);
        let after = full_at.saturating_add(self.token.saturating_mul(wanted));
        if after - now > self.token.saturating_mul(self.tokens) {
            return None;
        }
        Some(if cost == 0 { full_at } else { after })
    }

    /// Level of a bucket that is full at `full_at`.
    pub(super) fn level(&self, full_at: u64, now: u64) -> Level {
        let missing = full_at.saturating_sub(now);
        Level {
            limit: self.tokens,
            remaining: self.tokens.saturating_sub(missing.div_ceil(self.token)),
            reset: missing.div_ceil(1_000_000_000),
        }
    }
}

/// A bucket shared by all workers.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    full_at: AtomicU64,
}

impl Bucket {
    /// Creates a full bucket.
    pub(super) fn new(requests: u32, period: Duration) -> Self {
        Self {
            rate: Rate::new(requests, period),
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes `cost` tokens and returns the new level. If there are too few tokens, returns the current level
    /// as the error.
    pub(super) fn take(&self, now: u64, cost: u32) -> Result<Level, Level> {
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                self.rate.take(full_at, now, cost)
            });
        match taken {
            Ok(before) => {
                let after = self.rate.take(before, now, cost).unwrap_or(before);
                Ok(self.rate.level(after, now))
            }
            Err(full_at) => Err(self.rate.level(full_at, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(requests: u32, seconds: u64) -> Bucket {
        Bucket::new(requests, Duration::from_secs(seconds))
    }

    #[test]
    fn a_full_bucket_gives_exactly_its_limit() {
        for requests in [1, 3, 7, 100, 1_000_000] {
            let bucket = bucket(requests, 1);

            let given = (0..=requests).filter(|_| bucket.take(0, 1).is_ok()).count();

            assert_eq!(given, requests as usize);
        }
    }

    #[test]
    fn tokens_come_back_evenly_over_the_period() {
        let bucket = bucket(2, 10);
        assert!(bucket.take(0, 2).is_ok());

        assert!(bucket.take(5 * SECOND - 1, 1).is_err());
        assert!(bucket.take(5 * SECOND, 1).is_ok());
        assert!(bucket.take(5 * SECOND, 1).is_err());
    }

    #[test]
    fn the_level_contains_remaining_tokens_and_the_time_until_full() {
        let bucket = bucket(2, 3600);
        let level = |remaining, reset| Level {
            limit: 2,
            remaining,
            reset,
        };

        assert_eq!(bucket.take(0, 1), Ok(level(1, 1800)));
        assert_eq!(bucket.take(0, 1), Ok(level(0, 3600)));
        assert_eq!(bucket.take(SECOND / 2, 1), Err(level(0, 3600)));
    }

    #[test]
    fn a_cost_of_zero_takes_no_token() {
        let bucket = bucket(1, 60);

        assert!(bucket.take(0, 0).is_ok());
        assert!(bucket.take(0, 1).is_ok());
        assert!(bucket.take(0, 0).is_err());
    }

    #[test]
    fn a_limit_of_zero_and_a_cost_above_the_limit_are_rejected() {
        assert!(bucket(0, 1).take(0, 1).is_err());
        assert!(bucket(0, 1).take(0, 0).is_err());
        assert!(bucket(2, 1).take(0, 3).is_err());
        assert!(bucket(u32::MAX, 365 * 86_400).take(0, u32::MAX).is_ok());
    }

    #[test]
    fn a_clock_that_goes_back_adds_no_tokens() {
        let bucket = bucket(1, 1);
        assert!(bucket.take(10 * SECOND, 1).is_ok());

        assert!(bucket.take(0, 1).is_err());
    }

    proptest! {
        /// In any time window, at most the tokens of a full bucket and of the refill in the window are taken.
        #[test]
        fn never_more_than_the_limit_and_the_refill_of_a_window(
            requests in 1_u32..50,
            seconds in 1_u64..100,
            steps in proptest::collection::vec((0_u64..5 * SECOND, 0_u32..4), 1..200),
        ) {
            let bucket = bucket(requests, seconds);
            let mut now = 0;
            let mut given: Vec<(u64, u64)> = Vec::new();
            for (step, cost) in steps {
                now += step;
                if bucket.take(now, cost).is_ok() {
                    given.push((now, u64::from(cost)));
                }
            }

            for (first, (start, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (end, cost) in &given[first..] {
                    sum += cost;
                    let refill = u128::from(end - start) * u128::from(requests)
                        / u128::from(seconds * SECOND);
                    prop_assert!(u128::from(sum) <= u128::from(requests) + refill + 1);
                }
            }
        }

        /// The bucket agrees with a model that counts tokens.
        #[test]
        fn a_bucket_agrees_with_a_count_of_tokens(
            requests in 1_u32..20,
            steps in proptest::collection::vec((0_u64..3 * SECOND, 1_u32..4), 1..100),
        ) {
            // A token is refilled in a whole number of seconds, so the model needs no fractions.
            let bucket = bucket(requests, u64::from(requests));
            let full = u64::from(requests) * SECOND;
            let (mut now, mut held) = (0, full);
            for (step, cost) in steps {
                now += step;
                held = full.min(held + step);
                let price = u64::from(cost) * SECOND;
                let expected = held >= price;
                if expected {
                    held -= price;
                }

                let level = bucket.take(now, cost);

                prop_assert_eq!(level.is_ok(), expected);
                let (Ok(level) | Err(level)) = level;
                prop_assert_eq!(level.remaining, held / SECOND);
            }
        }
    }
}
