//! Limit of tiny chunks in request bodies over HTTP/1.
//!
//! A chunk of one byte takes only six bytes to send, but each chunk passes through both codecs. A client with
//! little bandwidth could therefore use much processor time. Therefore chunks with at most five bytes of
//! data, the size of their framing, are counted. Over HTTP/2,
//! [`ControlFrameMonitor`](super::control_frames::ControlFrameMonitor) counts empty frames for the same
//! reason. Programs that write each value as a chunk stay far below the limit.

use std::time::Duration;

use super::time::{Micros, micros};

/// Maximum data size of a tiny chunk, in bytes: the size of its framing, `5\r\n` and `\r\n`.
pub(super) const TINY: u64 = 5;
/// Number of tiny chunks that a connection may receive per [`WINDOW`].
const MAX_CHUNKS: u64 = 100_000;
/// Window in which tiny chunks are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts the tiny chunks of a connection.
#[derive(Debug, Default)]
pub(super) struct TinyChunkMonitor {
    window_start: Micros,
    counted: u64,
}

impl TinyChunkMonitor {
    /// Counts `chunks` received tiny chunks, at least 1. Returns whether the client exceeds the limit.
    pub(super) fn exceeds(&mut self, chunks: u64, now: impl Fn() -> Micros) -> bool {
        if self.counted == 0 {
            self.window_start = now();
        }
        self.counted += chunks;
        if self.counted <= MAX_CHUNKS {
            return false;
        }
        let at = now();
        if at - self.window_start <= micros(WINDOW) {
            return true;
        }
        self.window_start = at;
        self.counted = chunks;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of chunks at which the limit is exceeded, or `None` after 500 000. Chunks arrive in groups of
    /// `burst`, with the time `pause` between groups.
    fn until_exceeded(burst: u64, pause: Micros) -> Option<u64> {
        let mut monitor = TinyChunkMonitor::default();
        let bursts = 1..=500_000 / burst;
        let found = bursts.map(|at| (at * burst, at as Micros * pause));
        let mut found = found.filter(|(_, now)| monitor.exceeds(burst, || *now));
        found.next().map(|(chunks, _)| chunks)
    }

    #[test]
    fn more_than_ten_thousand_tiny_chunks_a_second_are_too_many() {
        for (burst, pause, expected) in [
            (1, 0, Some(100_001)),
            (1, 99, Some(100_001)),
            (1, 101, None),
            (1000, 0, Some(101_000)),
            (1000, 90_000, Some(101_000)),
            (1000, 110_000, None),
            (1, 1_000_000, None),
        ] {
            assert_eq!(until_exceeded(burst, pause), expected, "{burst} {pause}");
        }
    }
}
