//! Detection of clients that reset their requests (CVE-2023-44487, "rapid reset").

use std::time::Duration;

use super::time::{Micros, micros};

/// Number of premature resets that a connection may have per [`WINDOW`]. A connection with more premature
/// resets is abusive if more than half of its requests were reset prematurely. The ratio is part of the rule
/// because a busy proxy forwards the resets of many clients.
const MAX_RESETS: u64 = 100;
/// Window in which premature resets are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(30);
/// A reset is premature if it occurs within this time after the request began, and before the response.
pub(super) const PREMATURE: Duration = Duration::from_secs(1);

/// Counts premature resets of a connection.
#[derive(Debug, Default)]
pub(super) struct ResetMonitor {
    /// Start of the current window.
    window_start: Micros,
    /// Number of premature resets in the current window.
    resets: u64,
    /// Number of requests of the connection before the current window.
    requests_before: u64,
    abusive: bool,
}

impl ResetMonitor {
    /// Records that a request was reset before its response. `started`: time at which the request began;
    /// `now`: time of the reset; `requests`: number of requests of the connection so far.
    pub(super) fn on_reset(&mut self, started: Micros, now: Micros, requests: u64) {
        if now - started >= micros(PREMATURE) {
            return;
        }
        if now - self.window_start > micros(WINDOW) {
            self.window_start = now;
            self.resets = 0;
            self.requests_before = requests - 1;
        }
        self.resets += 1;
        let requests = requests - self.requests_before;
        if self.resets > MAX_RESETS && self.resets * 2 > requests {
            self.abusive = true;
        }
    }

    /// Whether the client has exceeded the limit in any window.
    pub(super) fn is_abusive(&self) -> bool {
        self.abusive
    }
}
