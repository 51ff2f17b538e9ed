//! Timestamps of the logs.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch. Earlier times are 0.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
