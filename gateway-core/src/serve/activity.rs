//! What a connection is doing, noted where it happens and looked at when a timer fires.
//!
//! All parts of a connection (its bytes, its requests, its timers) share one [`Activity`]. They are
//! mostly in one task, so the atomics are never contended; nothing is ordered by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::timers::Seen;
use crate::conn::{ConnectionGuard, Drain};
use crate::http::mended::Mended;

/// A connection ends if more requests than these are reset before their answer within
/// [`RESET_WINDOW`], and they are more than half of all: a busy proxy passes on the impatience of many.
const MAX_RESETS: u64 = 100;
/// The window in which premature resets are counted.
const RESET_WINDOW: Duration = Duration::from_secs(30);
/// A reset is premature if it comes within this time of the request.
const PREMATURE: Duration = Duration::from_secs(1);

/// What a connection is doing. Times are microseconds since it was opened; 0 is never.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    max_requests: u64,
    received: AtomicU64,
    head_since: AtomicU64,
    /// When bytes of the head under way last came; 0 if that is not known.
    head_heard: AtomicU64,
    idle_since: AtomicU64,
    blocked_since: AtomicU64,
    in_flight: AtomicU32,
    requests: AtomicU64,
    answering: AtomicBool,
    tunnel: AtomicBool,
    last: AtomicBool,
    ended: AtomicBool,
    /// The codec is being taken away; the stream below it stays open.
    parting: AtomicBool,
    withheld: AtomicU16,
    /// What is mended in the head under way; 0: nothing.
    mended: AtomicU8,
    abused: AtomicBool,
    resets: AtomicU64,
    resets_since: AtomicU64,
    /// `requests` at that time.
    requests_before: AtomicU64,
    /// `received` when the current head began; 0 if that is not known.
    head_at: AtomicU64,
    /// The current request's body is incomplete for certain until so much was received.
    body_until: AtomicU64,
    read_at: AtomicU64,
    /// Bodies of which the codec holds a part that the client does not take.
    held: AtomicU32,
    /// When a part of a body was last given or taken.
    taken_at: AtomicU64,
    drain: Drain,
    /// Counts the connection until the last part of it is gone.
    _guard: ConnectionGuard,
}

impl Activity {
    /// Nothing has happened yet on the connection.
    pub(crate) fn new(guard: ConnectionGuard, drain: Drain, max_requests: Option<u64>) -> Self {
        Self {
            start: Instant::now(),
            max_requests: max_requests.unwrap_or(u64::MAX),
            received: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            head_heard: AtomicU64::new(0),
            idle_since: AtomicU64::new(1),
            blocked_since: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            last: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            parting: AtomicBool::new(false),
            withheld: AtomicU16::new(0),
            mended: AtomicU8::new(0),
            abused: AtomicBool::new(false),
            resets: AtomicU64::new(0),
            resets_since: AtomicU64::new(0),
            requests_before: AtomicU64::new(0),
            head_at: AtomicU64::new(0),
            body_until: AtomicU64::new(0),
            read_at: AtomicU64::new(0),
            held: AtomicU32::new(0),
            taken_at: AtomicU64::new(0),
            drain,
            _guard: guard,
        }
    }

    /// Microseconds since the connection was opened; never 0.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64 + 1
    }

    /// The instant that [`Self::now`] would call `micros`.
    pub(crate) fn instant(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    /// What the timers need to know.
    pub(crate) fn seen(&self) -> Seen {
        let some = |at: u64| (at != 0).then_some(at);
        let received = self.received.load(Relaxed);
        let misses_body = received < self.body_until.load(Relaxed);
        Seen {
            received,
            held_since: (self.held.load(Relaxed) > 0).then(|| self.taken_at.load(Relaxed)),
            body_since: misses_body.then(|| self.read_at.load(Relaxed)),
            in_flight: self.in_flight.load(Relaxed) > 0,
            idle_since: self.idle_since.load(Relaxed),
            flushed: self.is_quiet(),
            head_since: some(self.head_since.load(Relaxed)),
            blocked_since: some(self.blocked_since.load(Relaxed)),
        }
    }

    /// Whether the next bytes are those of a head, or of one after it.
    pub(crate) fn is_at_head(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }

    /// The codec will mend the head that is being read.
    pub(crate) fn note_mended(&self, mended: Mended) {
        self.mended.store(mended as u8 + 1, Relaxed);
    }

    /// What the codec mended in the head that it has just read.
    pub(crate) fn take_mended(&self) -> Option<Mended> {
        let noted = self.mended.load(Relaxed);
        if noted == 0 {
            return None;
        }
        self.mended.store(0, Relaxed);
        let all = [Mended::Fragment, Mended::BothFramings, Mended::SameLengths];
        all.into_iter().find(|mended| *mended as u8 + 1 == noted)
    }

    /// `n` bytes came; 0: the client will send no more. `head`: outside a request they begin one.
    pub(crate) fn note_read(&self, n: usize, head: bool) {
        if n == 0 {
            self.ended.store(true, Relaxed);
            return;
        }
        let before = self.received.fetch_add(n as u64, Relaxed);
        self.note_tunnelled();
        if self.in_flight.load(Relaxed) > 0 {
            if before < self.body_until.load(Relaxed) {
                self.read_at.store(self.now(), Relaxed);
            }
        } else if head {
            let now = self.now();
            self.head_heard.store(now, Relaxed);
            if self.head_since.load(Relaxed) == 0 {
                self.head_since.store(now, Relaxed);
                self.head_at.store(before + 1, Relaxed);
            }
        }
    }

    /// The codec gave `n` bytes back unread: they will be noted once more.
    pub(crate) fn forget_read(&self, n: usize) {
        self.received.fetch_sub(n as u64, Relaxed);
    }

    /// Whether the codec may close the stream below it.
    pub(crate) fn set_parting(&self, parting: bool) {
        self.parting.store(parting, Relaxed);
    }

    /// Whether closing does not reach the stream below the codec.
    pub(crate) fn keeps_open(&self) -> bool {
        self.parting.load(Relaxed) || self.withheld().is_some()
    }

    /// Tunnels within HTTP/2 are no exchanges; a byte of theirs is no idleness either.
    fn note_tunnelled(&self) {
        if self.tunnel.load(Relaxed) {
            self.idle_since.store(self.now(), Relaxed);
        }
    }

    /// A write went through, or has to wait for the client.
    pub(crate) fn note_write(&self, waits: bool) {
        if !waits {
            self.note_tunnelled();
        }
        let since = self.blocked_since.load(Relaxed);
        if !waits && since != 0 {
            self.blocked_since.store(0, Relaxed);
        } else if waits && since == 0 {
            self.blocked_since.store(self.now(), Relaxed);
        }
    }

    /// All that the codec wrote is with the system.
    pub(crate) fn note_flushed(&self) {
        if self.answering.load(Relaxed) && self.in_flight.load(Relaxed) == 0 {
            self.answering.store(false, Relaxed);
        }
    }

    /// Whether bytes that the codec writes now can only be its own, not those of an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.answering.load(Relaxed) && !self.tunnel.load(Relaxed)
    }

    /// The codec's own error answer with this status was kept back.
    pub(crate) fn withhold(&self, status: u16) {
        self.withheld.store(status, Relaxed);
    }

    /// The status of the answer that was kept back.
    pub(crate) fn withheld(&self) -> Option<u16> {
        match self.withheld.load(Relaxed) {
            0 => None,
            status => Some(status),
        }
    }

    /// Whether the client has said that it sends no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Whether no request is being read or answered: the next bytes begin a head.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0
    }

    /// From here on bytes are those of an upgraded protocol.
    pub(crate) fn note_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
    }

    /// The next answer is to be the last.
    pub(crate) fn make_last(&self) {
        self.last.store(true, Relaxed);
    }

    /// Whether the connection ends with the current answer.
    pub(crate) fn closes(&self) -> bool {
        self.is_last() || self.drain.is_draining()
    }

    /// Whether the current answer was made the last one, here or by the limit of requests.
    pub(crate) fn is_last(&self) -> bool {
        self.last.load(Relaxed) || self.requests.load(Relaxed) >= self.max_requests
    }

    /// Whether the client has reset more requests before their answer than any honest one does.
    pub(crate) fn is_abused(&self) -> bool {
        self.abused.load(Relaxed)
    }

    fn note_reset(&self, now: u64) {
        let requests = self.requests.load(Relaxed);
        if now - self.resets_since.load(Relaxed) > RESET_WINDOW.as_micros() as u64 {
            self.resets_since.store(now, Relaxed);
            self.resets.store(0, Relaxed);
            self.requests_before.store(requests - 1, Relaxed);
        }
        let resets = self.resets.fetch_add(1, Relaxed) + 1;
        if resets > MAX_RESETS && resets * 2 > requests - self.requests_before.load(Relaxed) {
            self.abused.store(true, Relaxed);
        }
    }

    /// Notes when a body of `length` bytes is incomplete for certain: as long as not even that much
    /// has come since its head began. `None`: the length is not known, or there is no body.
    fn expect_body(&self, length: Option<u64>, now: u64) {
        let begin = self.head_at.swap(0, Relaxed);
        let until = match length {
            Some(length) if begin > 0 => (begin - 1).saturating_add(length),
            _ => 0,
        };
        self.body_until.store(until, Relaxed);
        self.read_at.store(now, Relaxed);
    }
}

/// A request, from its head until its answer's last byte is with the codec, or it is dropped.
#[derive(Debug)]
pub(crate) struct Exchange {
    activity: Arc<Activity>,
    started: u64,
    answered: bool,
    /// The codec was given a part of the answer's body, and did not ask for the next one yet.
    held: bool,
}

impl Exchange {
    /// The head of a request is complete; its body will have so many bytes, if that is known.
    pub(crate) fn begin(activity: &Arc<Activity>, body: Option<u64>) -> Self {
        // A head is complete with the bytes that came last, unless they came while another was answered.
        let started = match activity.head_heard.load(Relaxed) {
            0 => activity.now(),
            heard => heard,
        };
        activity.head_heard.store(0, Relaxed);
        activity.head_since.store(0, Relaxed);
        activity.in_flight.fetch_add(1, Relaxed);
        activity.requests.fetch_add(1, Relaxed);
        activity.expect_body(body, started);
        Self {
            started,
            activity: activity.clone(),
            answered: false,
            held: false,
        }
    }

    /// The codec was given a part of the body, or it asks for one.
    pub(crate) fn note_held(&mut self, held: bool) {
        if held == self.held {
            return;
        }
        self.held = held;
        self.activity.taken_at.store(self.activity.now(), Relaxed);
        if held {
            self.activity.held.fetch_add(1, Relaxed);
        } else {
            self.activity.held.fetch_sub(1, Relaxed);
        }
    }

    /// The head of the answer is there.
    pub(crate) fn answer(&mut self) -> &Activity {
        self.answered = true;
        self.activity.body_until.store(0, Relaxed);
        self.activity.answering.store(true, Relaxed);
        &self.activity
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.note_held(false);
        let now = self.activity.now();
        self.activity.idle_since.store(now, Relaxed);
        self.activity.body_until.store(0, Relaxed);
        self.activity.in_flight.fetch_sub(1, Relaxed);
        if !self.answered && now - self.started < PREMATURE.as_micros() as u64 {
            self.activity.note_reset(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(max_requests: Option<u64>) -> Arc<Activity> {
        Arc::new(Activity::new(
            ConnectionGuard::for_tests(),
            Drain::new(),
            max_requests,
        ))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_begins_with_the_first_byte_outside_a_request() {
        let activity = activity(None);

        activity.note_read(1, true);
        let first = activity.seen().head_since;
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.note_read(1, true);
        let second = activity.seen().head_since;
        let exchange = Exchange::begin(&activity, None);
        activity.note_read(1, true);

        assert!(first.is_some());
        assert_eq!(first, second, "later bytes do not prolong it");
        assert_eq!(activity.seen().head_since, None);
        assert!(activity.seen().in_flight);
        drop(exchange);
        assert!(activity.is_idle());
        assert_eq!(activity.seen().idle_since, 1_000_001);
    }

    #[tokio::test(start_paused = true)]
    async fn premature_resets_add_up_and_old_ones_are_forgotten() {
        let activity = activity(None);
        let reset = || drop(Exchange::begin(&activity, None));

        (0..100).for_each(|_| reset());
        assert!(!activity.is_abused());
        tokio::time::advance(RESET_WINDOW + PREMATURE).await;
        (0..100).for_each(|_| reset());
        assert!(!activity.is_abused());
        reset();
        assert!(activity.is_abused());
        tokio::time::advance(RESET_WINDOW + PREMATURE).await;
        reset();
        assert!(activity.is_abused(), "who was found out stays so");
    }

    #[tokio::test(start_paused = true)]
    async fn resets_are_no_abuse_while_most_requests_are_waited_for() {
        let activity = activity(None);

        for _ in 0..1000 {
            Exchange::begin(&activity, None).answer();
            drop(Exchange::begin(&activity, None));
        }

        assert!(!activity.is_abused());
        (0..3).for_each(|_| drop(Exchange::begin(&activity, None)));
        assert!(activity.is_abused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_missed_only_when_that_is_certain() {
        let activity = activity(None);
        activity.note_read(100, true);
        let first = Exchange::begin(&activity, Some(150));
        assert_eq!(activity.seen().body_since, Some(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.note_read(49, true);
        assert_eq!(activity.seen().body_since, Some(1_000_001));
        activity.note_read(1, true);
        assert_eq!(activity.seen().body_since, None, "all may be there");
        drop(first);

        activity.note_read(100, true);
        let mut answered = Exchange::begin(&activity, Some(1000));
        assert!(activity.seen().body_since.is_some());
        answered.answer();
        assert_eq!(activity.seen().body_since, None);
        drop(answered);

        let _pipelined = Exchange::begin(&activity, Some(1000));
        assert_eq!(activity.seen().body_since, None);
    }

    #[tokio::test(start_paused = true)]
    async fn late_or_answered_requests_are_no_resets() {
        let activity = activity(None);

        for _ in 0..200 {
            let mut answered = Exchange::begin(&activity, None);
            answered.answer();
            let late = Exchange::begin(&activity, None);
            tokio::time::advance(PREMATURE).await;
            drop((answered, late));
        }

        assert!(!activity.is_abused());
    }

    #[tokio::test]
    async fn bytes_are_the_codecs_own_only_when_no_answer_is_on_its_way() {
        let activity = activity(None);
        assert!(activity.is_quiet());

        let mut exchange = Exchange::begin(&activity, None);
        assert!(activity.is_quiet(), "100 Continue, or nothing");
        exchange.answer();
        activity.note_flushed();
        assert!(!activity.is_quiet());
        drop(exchange);
        assert!(!activity.is_quiet(), "the end may still be in a buffer");
        activity.note_flushed();
        assert!(activity.is_quiet());
        activity.note_tunnel();
        assert!(!activity.is_quiet());
    }

    #[tokio::test]
    async fn the_last_answer_is_known_by_number() {
        let activity = activity(Some(2));

        let _first = Exchange::begin(&activity, None);
        assert!(!activity.is_last());
        let _second = Exchange::begin(&activity, None);
        assert!(activity.is_last());
    }
}
