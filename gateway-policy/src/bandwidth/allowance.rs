//! A number of bytes that grows with time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Throughput;

/// Time for which unused allowance is kept.
const BURST: Duration = Duration::from_secs(1);

/// Number of pieces in which a second's allowance is sent.
const PIECES_PER_SECOND: u64 = 20;

/// Largest piece in bytes.
const MAX_PIECE: u64 = 64 * 1024;

/// The allowance, stored as the time at which it covers all bytes sent so far. It is one atomic
/// number, so workers share it without a lock.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: Throughput,
    start: Instant,
    /// Time at which the allowance covers all bytes sent so far, in nanoseconds after `start`, plus
    /// [`BURST`].
    paid: AtomicU64,
}

impl Allowance {
    pub(super) fn new(limit: Throughput) -> Self {
        Self {
            limit,
            start: Instant::now(),
            paid: AtomicU64::new(0),
        }
    }

    /// Maximum number of bytes to take at once: those that the limit allows in 50 ms, from 1 byte to
    /// [`MAX_PIECE`].
    pub(super) fn piece(&self) -> usize {
        let per_second =
            u128::from(self.limit.bytes) * 1_000_000_000 / self.limit.per.as_nanos().max(1);
        let piece = u64::try_from(per_second).unwrap_or(u64::MAX) / PIECES_PER_SECOND;
        usize::try_from(piece.clamp(1, MAX_PIECE)).unwrap_or(usize::MAX)
    }

    /// Takes `bytes` from the allowance. Returns the time at which they may be sent. `None`: now.
    pub(super) fn take(&self, bytes: usize) -> Option<Instant> {
        let cost = self.cost(bytes);
        let burst = nanoseconds(BURST);
        let now = nanoseconds(self.start.elapsed());
        let add = |paid: u64| Some(paid.max(now).saturating_add(cost));
        let order = Ordering::Relaxed;
        let before = self.paid.fetch_update(order, order, add).unwrap_or(0);
        let due = before.max(now).saturating_add(cost).saturating_sub(burst);
        (due > now).then(|| self.start + Duration::from_nanos(due))
    }

    /// Gives `bytes` back to the allowance. These bytes were taken but not sent.
    pub(super) fn refund(&self, bytes: usize) {
        let cost = self.cost(bytes);
        let order = Ordering::Relaxed;
        let subtract = |paid: u64| Some(paid.saturating_sub(cost));
        // The closure always returns a value, so the update cannot fail.
        let _ = self.paid.fetch_update(order, order, subtract);
    }

    /// The time in nanoseconds in which the limit allows `bytes`.
    fn cost(&self, bytes: usize) -> u64 {
        let cost = bytes as u128 * self.limit.per.as_nanos() / u128::from(self.limit.bytes.max(1));
        u64::try_from(cost).unwrap_or(u64::MAX)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
