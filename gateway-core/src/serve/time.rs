//! Times of a connection.

use std::time::Duration;

/// Time since the connection was opened, or a time span, in microseconds.
pub(super) type Micros = u64;

/// Converts a time span to microseconds. If the span is too long for a `u64`, the result is the maximum of
/// `u64`.
pub(super) fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}
