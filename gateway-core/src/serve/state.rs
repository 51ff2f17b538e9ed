//! The state of an HTTP connection, as a state machine without I/O.
//!
//! ```text
//!            first bytes                head complete
//! Phase:  Idle ─────────> ReadingHead ─────────────────> Serving ──last request ends──> Idle
//!           └───────────────────── head complete ──────────┘ (HTTP/2, pipelined HTTP/1)
//!
//! Output: Flushed ──response──> Response ──flush, no request──> Flushed
//!            └────── upgrade ──────┴───────────> Tunnel
//! ```
//!
//! Events are methods of [`ConnectionState`]; timers and the codec driver read its fields. Times are
//! microseconds since the connection was opened and are passed in, so nothing here reads a clock.

use hyper::upgrade::OnUpgrade;

use super::resets::ResetMonitor;
use super::stream_task::DropCause;
use super::time::Micros;
use crate::http::lenient::LenientParse;

/// State of an HTTP connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// Bytes received.
    pub(super) received: u64,
    /// The current phase.
    pub(super) phase: Phase,
    /// Whether the most recent bytes are part of an incomplete request head.
    pub(super) is_within_head: bool,
    /// Time at which the last request ended, or at which the tunnel last transferred a byte; 0 before the
    /// first request.
    pub(super) idle_since: Micros,
    /// Kind of the output to which the bytes that the codec writes belong.
    pub(super) output: Output,
    /// Whether the connection has been asked to close.
    pub(super) is_closing: bool,
    /// Time at which bytes were last sent while the connection was closing and no request was in progress.
    /// The codec may still hold the end of a response that the client receives slowly.
    pub(super) last_sent: Micros,
    /// Time since which a request head has been incomplete (HTTP/2), or since which bytes have been received
    /// that do not identify the protocol. `None`: no head is incomplete.
    pub(super) head_since: Option<Micros>,
    /// Time since which a write or flush has been waiting for the client. `None`: none is waiting.
    pub(super) blocked_since: Option<Micros>,
    /// Effect of a shutdown of the stream by the codec.
    pub(super) shutdown: Shutdown,
    /// Time at which the client closed its side of the connection, or at which bytes were last sent to the
    /// client after that. `None`: the client has not closed its side.
    pub(super) client_closed: Option<Micros>,
    /// HTTP/2: reason why the requests in progress are dropped, if the gateway closes the connection.
    pub(super) drop_cause: Option<DropCause>,
    /// HTTP/1: whether the connection must be closed without a response, because the client disconnected
    /// before its request was complete.
    pub(super) is_abandoned: bool,
    /// HTTP/1: the upgrade of the last request with an upgrade, unless the response accepts the upgrade. When
    /// the codec ends, it completes the upgrade even if the upgrade was not accepted.
    pub(super) pending_upgrade: Option<OnUpgrade>,
    /// Defect of a head that the codec accepts, with the index of its request. No other defect
    /// follows, because the connection ends with this request.
    lenient: Option<(u64, LenientParse)>,
    /// Number of requests that the connection has received.
    requests: u64,
    max_requests: Option<u64>,
    /// Whether the current response is the last response of the connection, regardless of `max_requests`.
    last: bool,
    resets: ResetMonitor,
    has_control_frame_flood: bool,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// No request is being received or answered.
    Idle,
    /// A part of a request head has been received (HTTP/1 only).
    ReadingHead {
        /// Time at which the first byte of the head was received.
        since: Micros,
        /// Time at which the most recent bytes of the head were received.
        last_read: Micros,
        /// Value of `received` before the first byte of the head.
        offset: u64,
    },
    /// Requests are being answered.
    Serving {
        /// Number of requests that are being answered.
        requests: u32,
        /// The request body, if parts of it are certainly missing.
        body: Option<IncompleteBody>,
    },
}

/// A request body that is certainly incomplete (HTTP/1 only).
///
/// The codec does not report the length of the head. The body is therefore certainly incomplete only while
/// fewer bytes than its length have been received since the head began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct IncompleteBody {
    /// Value of `received` at which the body may be complete.
    until: u64,
    /// Time at which the most recent bytes of the body were received.
    last_read: Micros,
}

/// Kind of the output to which the bytes that the codec writes belong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Output {
    /// No response: all responses are flushed. Further bytes are the codec's own, such as its error
    /// responses.
    Flushed,
    /// A response, which is possibly not flushed completely yet.
    Response,
    /// A tunnel: the connection has been upgraded. This value is final.
    Tunnel,
}

/// Effect of a shutdown of the stream by the codec.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shutdown {
    /// The underlying stream is shut down.
    Forward,
    /// The codec is being released; the stream stays open.
    Releasing,
    /// The codec's error response with this status was withheld. The stream stays open for the response that
    /// replaces it. This value is final.
    Withheld(u16),
}

/// Reason why a connection should be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CloseCause {
    /// The client abuses the protocol. The value names the abuse in events.
    Abuse(&'static str),
    /// The current response is the last response of the connection.
    LastResponse,
}

impl ConnectionState {
    /// State of a new connection.
    pub(super) fn new(max_requests: Option<u64>) -> Self {
        Self {
            received: 0,
            phase: Phase::Idle,
            is_within_head: false,
            idle_since: 0,
            output: Output::Flushed,
            is_closing: false,
            last_sent: 0,
            head_since: None,
            blocked_since: None,
            shutdown: Shutdown::Forward,
            client_closed: None,
            drop_cause: None,
            is_abandoned: false,
            pending_upgrade: None,
            lenient: None,
            requests: 0,
            max_requests,
            last: false,
            resets: ResetMonitor::default(),
            has_control_frame_flood: false,
        }
    }

    /// Records that bytes were received. `http1`: whether bytes outside a request belong to a head.
    /// `lenient`: index and defect of an invalid head that the codec will accept.
    pub(super) fn on_read(
        &mut self,
        bytes: u64,
        http1: bool,
        lenient: Option<(u64, LenientParse)>,
        now: impl FnOnce() -> Micros,
    ) {
        let before = self.received;
        self.received += bytes;
        self.lenient = lenient.or(self.lenient);
        match &mut self.phase {
            _ if self.output == Output::Tunnel => self.idle_since = now(),
            Phase::Idle if http1 => {
                let now = now();
                self.phase = Phase::ReadingHead {
                    since: self.head_since.take().unwrap_or(now),
                    last_read: now,
                    offset: before,
                };
            }
            Phase::ReadingHead { last_read, .. } => *last_read = now(),
            Phase::Serving { body, .. } => match body {
                Some(body) if before < body.until => body.last_read = now(),
                _ => {}
            },
            Phase::Idle => {}
        }
    }

    /// Records that the codec returned `bytes` unread bytes, which will be read again.
    pub(super) fn on_unread(&mut self, bytes: u64) {
        // The subtraction saturates, because escaping makes targets longer, so the codec may return more
        // bytes than were received.
        self.received = self.received.saturating_sub(bytes);
    }

    /// Records that a write or flush succeeded or, if `pending` is set, that it waits for the client.
    pub(super) fn on_write(&mut self, pending: bool, now: impl FnOnce() -> Micros) {
        match (pending, self.blocked_since) {
            (true, None) => self.blocked_since = Some(now()),
            (true, Some(_)) => {}
            (false, blocked) => {
                self.blocked_since = None;
                // A write waited for the client and has succeeded, so the client was receiving until now.
                if self.output == Output::Tunnel || blocked.is_some() {
                    self.idle_since = now();
                }
            }
        }
    }

    /// Records that bytes were sent.
    pub(super) fn on_sent(&mut self, now: impl FnOnce() -> Micros) {
        if self.is_closing && !self.is_serving() {
            self.last_sent = now();
        }
    }

    /// HTTP/2: records whether the most recent bytes are part of an incomplete head.
    pub(super) fn on_http2_head(&mut self, within_head: bool, now: impl FnOnce() -> Micros) {
        match (within_head, self.head_since) {
            (true, None) => self.head_since = Some(now()),
            (true, Some(_)) => {}
            (false, _) => self.head_since = None,
        }
    }

    /// Time at which the first byte of the current incomplete head was received.
    pub(super) fn head_began(&self) -> Option<Micros> {
        match self.phase {
            Phase::ReadingHead { since, .. } => Some(since),
            Phase::Idle | Phase::Serving { .. } => self.head_since,
        }
    }

    /// Records that all bytes that the codec wrote are flushed.
    pub(super) fn on_flushed(&mut self) {
        if self.output == Output::Response && !self.is_serving() {
            self.output = Output::Flushed;
        }
    }

    /// Records that a request head is complete. `length`: length of the request body in bytes, if known.
    /// Returns the time at which the request began, and the defect of its head, if any.
    pub(super) fn on_request(
        &mut self,
        length: Option<u64>,
        now: impl FnOnce() -> Micros,
    ) -> (Micros, Option<LenientParse>) {
        // The request began with the most recent bytes if they completed its head. If the head arrived during
        // another request, this time is unknown, and the current time is used.
        let (started, offset, others) = match self.phase {
            Phase::ReadingHead {
                last_read, offset, ..
            } => (last_read, Some(offset), 0),
            Phase::Serving { requests, .. } => (now(), None, requests),
            Phase::Idle => (now(), None, 0),
        };
        let until = offset
            .zip(length)
            .map(|(offset, length)| offset.saturating_add(length));
        self.phase = Phase::Serving {
            requests: others + 1,
            body: until.map(|until| IncompleteBody {
                until,
                last_read: started,
            }),
        };
        let index = self.requests;
        self.requests += 1;
        let lenient = self.lenient.filter(|(at, _)| *at == index);
        (started, lenient.map(|(_, lenient)| lenient))
    }

    /// Records that the head of a response is available.
    pub(super) fn on_response(&mut self) {
        if let Phase::Serving { body, .. } = &mut self.phase {
            *body = None;
        }
        if self.output == Output::Flushed {
            self.output = Output::Response;
        }
    }

    /// Records that the connection has been upgraded, or a `CONNECT` was accepted.
    pub(super) fn on_tunnel(&mut self) {
        self.output = Output::Tunnel;
        self.pending_upgrade = None;
    }

    /// Records that a request has ended. `reset_since`: the time at which it began, if it was reset before
    /// its response.
    pub(super) fn on_request_end(&mut self, reset_since: Option<Micros>, now: Micros) {
        self.idle_since = now;
        self.phase = match self.phase {
            Phase::Serving { requests, .. } if requests > 1 => Phase::Serving {
                requests: requests - 1,
                body: None,
            },
            // During this request, the client has begun to send the next head.
            Phase::Serving { .. } if self.is_within_head => Phase::ReadingHead {
                since: now,
                last_read: now,
                offset: self.received,
            },
            _ => Phase::Idle,
        };
        if let Some(started) = reset_since {
            self.resets.on_reset(started, now, self.requests);
        }
    }

    /// Records that the codec's error response with `status` was withheld.
    pub(super) fn on_withheld(&mut self, status: u16) {
        self.shutdown = Shutdown::Withheld(status);
    }

    /// Records that the codec is being released. Its shutdown does not reach the stream.
    pub(super) fn begin_release(&mut self) {
        if self.shutdown == Shutdown::Forward {
            self.shutdown = Shutdown::Releasing;
        }
    }

    /// Records that the release of the codec has ended: either the codec is released, or it waits for the
    /// body of a request.
    pub(super) fn end_release(&mut self) {
        if self.shutdown == Shutdown::Releasing {
            self.shutdown = Shutdown::Forward;
        }
    }

    /// Makes the next response the last response of the connection.
    pub(super) fn make_last(&mut self) {
        self.last = true;
    }

    /// Whether the current response is the last response of the connection.
    pub(super) fn is_last(&self) -> bool {
        self.last || self.max_requests.is_some_and(|max| self.requests >= max)
    }

    /// The reason to close the connection, if there is one.
    pub(super) fn close_cause(&self) -> Option<CloseCause> {
        if self.resets.is_abusive() {
            Some(CloseCause::Abuse("premature_resets"))
        } else if self.has_control_frame_flood {
            Some(CloseCause::Abuse("control_frames"))
        } else {
            self.is_last().then_some(CloseCause::LastResponse)
        }
    }

    /// Records that the client sends too many frames that serve no request.
    pub(super) fn on_control_frame_flood(&mut self) {
        self.has_control_frame_flood = true;
    }

    /// Number of requests that the connection has received.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether requests are being answered.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving { .. })
    }

    /// Time at which the most recent bytes of a certainly incomplete request body were received. `None` if
    /// the body may be complete.
    pub(super) fn body_incomplete_since(&self) -> Option<Micros> {
        match self.phase {
            Phase::Serving {
                body: Some(body), ..
            } => (self.received < body.until).then_some(body.last_read),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
