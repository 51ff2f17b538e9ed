//! Buckets of their own for each value of something, such as the client's address.
//!
//! Values come from clients, so their number is bounded, as in Envoy at 10000. When a new one finds no
//! room, the bucket goes that is fullest: forgetting it gives the least away. (Envoy forgets the one
//! that was not asked for the longest time, which lets a client with many values wash out its own
//! empty bucket.)

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::bucket::{Level, Rate};

/// Parts that are locked apart.
const SHARDS: usize = 16;

/// Values per part.
const PER_SHARD: usize = 10_000 / SHARDS;

/// Buckets by the hash of a value. The hash is keyed, so nobody can aim at the bucket of another.
#[derive(Debug)]
pub(super) struct DistinctBuckets {
    rate: Rate,
    /// Makes the hashes.
    pub(super) state: RandomState,
    /// When the bucket of a value is full. A value that is not there has a full bucket.
    shards: [Mutex<HashMap<u64, u64>>; SHARDS],
}

impl DistinctBuckets {
    /// No value has been seen.
    pub(super) fn new(requests: u32, period: Duration) -> Self {
        Self {
            rate: Rate::new(requests, period),
            state: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Takes `cost` tokens from the bucket of the value with this hash; the error is the level that
    /// does not suffice.
    pub(super) fn take(&self, hash: u64, now: u64, cost: u32) -> Result<Level, Level> {
        // The map uses the low bits of its own hash of the key, so the parts may use them here.
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = shard.get(&hash).copied().unwrap_or(0);
        let Some(after) = self.rate.take(full_at, now, cost) else {
            return Err(self.rate.level(full_at, now));
        };
        if after > now {
            if shard.len() >= PER_SHARD && !shard.contains_key(&hash) {
                forget_fullest(&mut shard);
            }
            shard.insert(hash, after);
        }
        Ok(self.rate.level(after, now))
    }
}

fn forget_fullest(shard: &mut HashMap<u64, u64>) {
    let fullest = shard.iter().min_by_key(|(_, full_at)| **full_at);
    if let Some(hash) = fullest.map(|(hash, _)| *hash) {
        shard.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(buckets: &DistinctBuckets) -> usize {
        buckets.shards.iter().map(|s| s.lock().unwrap().len()).sum()
    }

    #[test]
    fn each_value_has_its_own_bucket() {
        let buckets = DistinctBuckets::new(1, Duration::from_secs(60));

        assert!(buckets.take(1, 0, 1).is_ok());
        assert!(buckets.take(1, 0, 1).is_err());
        assert!(buckets.take(2, 0, 1).is_ok());
    }

    #[test]
    fn many_values_neither_fill_the_memory_nor_empty_an_exhausted_bucket() {
        let buckets = DistinctBuckets::new(2, Duration::from_secs(60));
        assert!(buckets.take(0, 0, 2).is_ok());

        for value in 1..50_000 {
            assert!(buckets.take(value, 0, 1).is_ok());
        }

        assert_eq!(held(&buckets), 10_000);
        assert!(buckets.take(0, 0, 1).is_err());
    }

    #[test]
    fn a_question_leaves_no_trace() {
        let buckets = DistinctBuckets::new(1, Duration::from_secs(60));

        assert!(buckets.take(1, 0, 0).is_ok());

        assert_eq!(held(&buckets), 0);
    }
}
