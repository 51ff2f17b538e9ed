//! Detection of clients that flood an HTTP/2 connection with frames without content (CVE-2019-9512, CVE-2019-9513,
//! CVE-2019-9515, CVE-2019-9518).
//!
//! Some frames cost the gateway work but serve no request: PING, SETTINGS, PRIORITY, GOAWAY, RST_STREAM of
//! streams that have ended, frames of unknown types, and empty DATA that does not end a stream. Some of them
//! also require a reply. This module counts these frames while bytes arrive. It reads only the heads of
//! frames; the codec checks everything else. The scan of the frame heads also detects incomplete request
//! heads.
//!
//! WINDOW_UPDATE has its own limit, because a client sends it for the responses that it receives: at most two
//! for each DATA frame.

use std::time::Duration;

use super::time::{Micros, micros};
use crate::conn::preamble::PREFACE;

/// Length of the head of a frame (RFC 9113, section 4.1).
const HEAD: usize = 9;
/// Number of counted frames that a client may send per [`WINDOW`], in addition to [`PER_REQUEST`] frames for
/// each request.
const MAX_FRAMES: u64 = 10_000;
/// Number of counted frames that a client may send for each request, because clients send PRIORITY,
/// PRIORITY_UPDATE, PING or RST_STREAM with requests.
const PER_REQUEST: u64 = 4;
/// Number of bytes that must be sent to the client for each WINDOW_UPDATE that the client may send. This is
/// half the size of a DATA frame with a single byte, so each DATA frame allows at least two.
const PER_WINDOW_UPDATE: u64 = 5;
/// Window in which frames are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Types of frames (RFC 9113, section 6).
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

/// Flag END_STREAM of DATA.
const END_STREAM: u8 = 1;
/// Flag END_HEADERS of HEADERS and CONTINUATION.
const END_HEADERS: u8 = 4;

/// Counts the frames that a client sends in addition to its requests.
#[derive(Debug)]
pub(super) struct ControlFrameMonitor {
    /// Number of bytes to skip: the preface, then the payload of the current frame.
    skip: usize,
    head: [u8; HEAD],
    /// Number of bytes in `head` that have been received.
    known: usize,
    control: FrameLimit,
    window_updates: FrameLimit,
    /// Number of bytes sent to the client for which no WINDOW_UPDATE has been allowed yet. Less than
    /// [`PER_WINDOW_UPDATE`].
    sent: u64,
    /// `Some` if the current or last frame is HEADERS or CONTINUATION; the value is true if another
    /// CONTINUATION follows.
    fields: Option<bool>,
}

/// Counter and limit of one class of frames: control frames, or WINDOW_UPDATE.
#[derive(Debug, Default, Eq, PartialEq)]
struct FrameLimit {
    window_start: Micros,
    /// Number of frames that were received in the current window.
    counted: u64,
    /// Number of frames that are allowed in the current window, in addition to [`MAX_FRAMES`].
    allowed: u64,
}

impl FrameLimit {
    /// Counts a frame. Returns whether the limit is exceeded.
    fn exceeds(&mut self, now: &impl Fn() -> Micros) -> bool {
        if self.counted == 0 {
            self.window_start = now();
        }
        self.counted += 1;
        if self.counted <= MAX_FRAMES + self.allowed {
            return false;
        }
        let at = now();
        if at - self.window_start <= micros(WINDOW) {
            return true;
        }
        *self = Self {
            window_start: at,
            counted: 1,
            allowed: 0,
        };
        false
    }
}

impl ControlFrameMonitor {
    /// Monitors a connection from its first byte.
    pub(super) fn new() -> Self {
        Self {
            skip: PREFACE.len(),
            head: [0; HEAD],
            known: 0,
            control: FrameLimit::default(),
            window_updates: FrameLimit::default(),
            sent: 0,
            fields: None,
        }
    }

    /// Whether the last bytes are part of an incomplete block of fields (RFC 9113, section 4.3).
    pub(super) fn is_within_head(&self) -> bool {
        let begins = self.known > 3 && matches!(self.head[3], kind::HEADERS | kind::CONTINUATION);
        begins
            || self
                .fields
                .is_some_and(|continues| continues || self.skip > 0)
    }

    /// Records bytes that were sent to the client.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.window_updates.allowed += self.sent / PER_WINDOW_UPDATE;
        self.sent %= PER_WINDOW_UPDATE;
    }

    /// Scans received bytes. Returns whether the client exceeds the limit.
    pub(super) fn scan(&mut self, mut bytes: &[u8], now: impl Fn() -> Micros) -> bool {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.known).min(bytes.len());
            self.head[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
            self.known += taken;
            bytes = &bytes[taken..];
            if self.known < HEAD {
                return false;
            }
            self.known = 0;
            if self.on_frame(&now) {
                return true;
            }
        }
    }

    fn on_frame(&mut self, now: &impl Fn() -> Micros) -> bool {
        let [a, b, c, kind, flags, ..] = self.head;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        self.fields =
            matches!(kind, kind::HEADERS | kind::CONTINUATION).then_some(flags & END_HEADERS == 0);
        match kind {
            kind::HEADERS => {
                self.control.allowed += PER_REQUEST;
                self.window_updates.allowed += PER_REQUEST;
                false
            }
            kind::DATA if self.skip > 0 || flags & END_STREAM != 0 => false,
            kind::PUSH_PROMISE | kind::CONTINUATION => false,
            kind::WINDOW_UPDATE => self.window_updates.exceeds(now),
            _ => self.control.exceeds(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + payload, 0xff);
        frame
    }

    /// Number of frames at which the limit is exceeded. `None` if `max` frames do not exceed it.
    fn until_exceeded(frame: &[u8], max: usize, now: Micros) -> Option<usize> {
        let mut monitor = ControlFrameMonitor::new();
        assert!(!monitor.scan(PREFACE, || 0));
        (1..=max).find(|at| monitor.scan(frame, || *at as Micros * now))
    }

    #[test]
    fn frames_that_carry_nothing_are_limited_and_others_are_not() {
        let limit = Some(10_001);
        for (kind, flags, payload, expected) in [
            (PING, 0, 8, limit),
            (4, 0, 0, limit),
            (2, 0, 5, limit),
            (7, 0, 8, limit),
            (0x10, 0, 4, limit),
            (kind::DATA, 0, 0, limit),
            (kind::DATA, END_STREAM, 0, None),
            (kind::DATA, 0, 1, None),
            (kind::HEADERS, 5, 3, None),
            (kind::WINDOW_UPDATE, 0, 4, limit),
            (RST_STREAM, 0, 4, limit),
        ] {
            let frame = frame(kind, flags, payload);
            assert_eq!(until_exceeded(&frame, 20_000, 0), expected, "{kind}");
        }
    }

    #[test]
    fn slow_frames_are_not_limited() {
        // The first client sends a frame every 2 ms, the second client a frame every 0.5 ms.
        assert_eq!(until_exceeded(&frame(PING, 0, 8), 30_000, 2_000), None);
        assert_eq!(
            until_exceeded(&frame(PING, 0, 8), 30_000, 500),
            Some(10_001)
        );
    }

    #[test]
    fn each_request_permits_more() {
        let mut bytes = frame(kind::HEADERS, 5, 3);
        bytes.extend(frame(0x10, 0, 4));
        bytes.extend(frame(PING, 0, 8));
        bytes.extend(frame(RST_STREAM, 0, 4));
        bytes.extend(frame(kind::WINDOW_UPDATE, 0, 4));

        assert_eq!(until_exceeded(&bytes, 50_000, 0), None);
    }

    #[test]
    fn each_sent_byte_permits_window_updates_and_no_other_frames() {
        let until_exceeded = |frame: &[u8]| {
            let mut monitor = ControlFrameMonitor::new();
            monitor.scan(PREFACE, || 0);
            (1..=200_000).find(|_| {
                // For each DATA frame of one byte, the client sends two frames.
                monitor.on_sent(HEAD + 1);
                monitor.scan(frame, || 0) || monitor.scan(frame, || 0)
            })
        };

        assert_eq!(until_exceeded(&frame(kind::WINDOW_UPDATE, 0, 4)), None);
        assert_eq!(until_exceeded(&frame(PING, 0, 8)), Some(5_001));
    }

    #[test]
    fn a_head_is_incomplete_until_the_end_of_its_last_frame() {
        let mut monitor = ControlFrameMonitor::new();
        monitor.scan(PREFACE, || 0);
        let mut after = |bytes: &[u8]| {
            monitor.scan(bytes, || 0);
            monitor.is_within_head()
        };
        let headers = frame(kind::HEADERS, 1, 3);
        let last = frame(kind::CONTINUATION, END_HEADERS, 3);

        assert!(!after(&frame(PING, 0, 8)));
        assert!(after(&headers[..4]), "its type is known");
        assert!(after(&headers[4..11]));
        assert!(after(&headers[11..]), "END_HEADERS is missing");
        assert!(after(&last[..10]));
        assert!(!after(&last[10..]));
        assert!(!after(&frame(kind::HEADERS, 5, 3)));
        assert!(!after(&frame(kind::DATA, 0, 8)[..10]));
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_makes_no_difference(
            kinds in prop::collection::vec((0..10_u8, 0..2_u8, 0..40_usize), 1..60),
            cuts in prop::collection::vec(1..50_usize, 1..40),
        ) {
            let mut bytes = PREFACE.to_vec();
            for (kind, flags, payload) in kinds {
                bytes.extend(frame(kind, flags, payload));
            }
            let mut whole = ControlFrameMonitor::new();
            whole.scan(&bytes, || 1);
            let mut parts = ControlFrameMonitor::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                parts.scan(now, || 1);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(
                (whole.control, whole.window_updates, whole.skip, whole.known),
                (parts.control, parts.window_updates, parts.skip, parts.known)
            );
        }
    }
}
