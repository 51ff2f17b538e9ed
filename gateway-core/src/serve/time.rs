//! Times of a connection.

use std::time::Duration;

/// Time since the connection was opened, or a time span, in microseconds.
pub(super) type Micros = u64;

/// Converts a time span. If it is too long, the result is the maximum.
pub(super) fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}
