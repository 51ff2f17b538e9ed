//! A bucket for each distinct value, for example for each client address.
//!
//! Clients choose the values, so their number is limited: 10,000, as in Envoy. If there is no room for a new
//! value, the fullest bucket is removed. A removed bucket counts as full, so this choice grants the fewest
//! additional tokens. An exhausted bucket is never removed: if all buckets are exhausted, new values share one
//! bucket per shard. Envoy instead removes the least recently used bucket, so a client with many values can
//! evict its own empty bucket.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::bucket::{Level, Rate};

/// Number of shards, each with its own lock.
const SHARDS: usize = 16;

/// Values per shard.
const PER_SHARD: usize = 10_000 / SHARDS;

/// Buckets by the hash of a value. The hash is keyed, so a client cannot target another client's
/// bucket.
#[derive(Debug)]
pub(super) struct DistinctBuckets {
    rate: Rate,
    /// Key of the hash.
    pub(super) state: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// A part of the buckets.
#[derive(Debug, Default)]
struct Shard {
    /// Times at which the buckets are full, by the hash of the value. The bucket of an absent value is full.
    full_at: HashMap<u64, u64>,
    /// Time at which the bucket of values without room is full.
    shared: u64,
}

impl DistinctBuckets {
    /// A set without any values.
    pub(super) fn new(requests: u32, period: Duration) -> Self {
        Self {
            rate: Rate::new(requests, period),
            state: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Takes `cost` tokens from the bucket of the value with this hash, and returns the new level. If there
    /// are too few tokens, returns the current level as the error.
    pub(super) fn take(&self, hash: u64, now: u64, cost: u32) -> Result<Level, Level> {
        // The map hashes the key again, so the low bits of the key can select the shard.
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.full_at.contains_key(&hash) && cost > 0 && !shard.has_room(&self.rate, now) {
            let taken = self.rate.take(shard.shared, now, cost);
            shard.shared = taken.ok_or_else(|| self.rate.level(shard.shared, now))?;
            return Ok(self.rate.level(shard.shared, now));
        }
        let full_at = shard.full_at.get(&hash).copied().unwrap_or(0);
        let Some(after) = self.rate.take(full_at, now, cost) else {
            return Err(self.rate.level(full_at, now));
        };
        if after > now {
            shard.full_at.insert(hash, after);
        }
        Ok(self.rate.level(after, now))
    }
}

impl Shard {
    /// Whether there is room for a new value, after the fullest bucket is removed if it has a token.
    fn has_room(&mut self, rate: &Rate, now: u64) -> bool {
        if self.full_at.len() < PER_SHARD {
            return true;
        }
        let fullest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at);
        let removable = fullest.filter(|(_, full_at)| rate.take(**full_at, now, 1).is_some());
        let Some(hash) = removable.map(|(hash, _)| *hash) else {
            return false;
        };
        self.full_at.remove(&hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(buckets: &DistinctBuckets) -> usize {
        let shards = buckets.shards.iter();
        shards
            .map(|shard| shard.lock().unwrap().full_at.len())
            .sum()
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
    fn an_exhausted_bucket_is_kept_and_new_values_share_a_bucket() {
        const HOUR: u64 = 3600 * 1_000_000_000;
        let buckets = DistinctBuckets::new(1, Duration::from_secs(3600));
        assert!(buckets.take(0, 0, 1).is_ok());

        let allowed = (1..50_000).filter(|value| buckets.take(*value, 1, 1).is_ok());

        assert_eq!(allowed.count(), 9_999 + SHARDS);
        assert_eq!(held(&buckets), 10_000);
        assert!(buckets.take(0, 2, 1).is_err());
        assert!(buckets.take(0, HOUR, 1).is_ok());
        assert!(buckets.take(60_000, HOUR + 1, 1).is_ok());
    }

    #[test]
    fn a_cost_of_zero_adds_no_value() {
        let buckets = DistinctBuckets::new(1, Duration::from_secs(60));

        assert!(buckets.take(1, 0, 0).is_ok());

        assert_eq!(held(&buckets), 0);
    }
}
