//! Bodies on their way through the gateway: what is counted, timed and left out of them.
//!
//! ```text
//! client ──RequestBody──> endpoint        Progress: bytes and frames so far, and whether all came
//! client <──ResponseBody── endpoint       ends the exchange; cut off when nothing moves for too long
//! ```
//!
//! Trailers pass if the client's side is HTTP/2 or the listener enables them for HTTP/1, without the
//! fields that must not come after a body. HTTP/1 carries only those that `Trailer` announces (RFC 9110,
//! section 6.6.2).

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};

use super::exchange::Exchange;
use super::timers::Patience;
use crate::Body;
use crate::body::BoxError;
use crate::http::trailers;
use crate::upstream::StreamExpired;

/// How many bytes of a request that nobody wants are read, so that its connection may live on.
const REST: usize = 64 * 1024;
/// How often the connection is given the chance to hand over what it has of them.
const TURNS: usize = 4;

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    frames: AtomicU64,
    complete: AtomicBool,
    /// What was dropped unread, until there is an answer.
    rest: Mutex<Option<Body>>,
    unwanted: AtomicBool,
}

impl Progress {
    /// Whether its end has been read.
    pub(crate) fn complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Frames read; grows as long as the client sends and the backend takes.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Bytes read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Reads what has arrived of a body that was dropped unread, without waiting for more: a small
    /// request is complete then, and its connection can be used again.
    pub(crate) async fn take_rest(self: &Arc<Self>) {
        let rest = self.rest.lock().ok().and_then(|mut rest| rest.take());
        let Some(body) = rest else { return };
        let mut body = RequestBody {
            body,
            progress: self.clone(),
            trailers: Trailers::Drop,
        };
        let (mut read, mut turns) = (0, 0);
        while read <= REST && turns < TURNS && !self.complete() {
            tokio::select! {
                biased;
                frame = body.frame() => match frame {
                    Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) | None => break,
                },
                () = tokio::task::yield_now() => turns += 1,
            }
        }
    }

    /// There is an answer: what is left of the request is not needed.
    pub(crate) fn drop_rest(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
        if let Ok(mut rest) = self.rest.lock() {
            *rest = None;
        }
    }

    fn note(&self, frame: Option<&Result<Frame<Bytes>, BoxError>>) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            // Nothing can be read after an error.
            Some(Err(_)) => self.unwanted.store(true, Ordering::Relaxed),
            None => self.complete.store(true, Ordering::Relaxed),
        }
    }
}

/// What becomes of trailers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trailers {
    /// They end here.
    Drop,
    /// They pass without the fields that must not come after a body.
    Pass,
}

impl Trailers {
    /// The frame as it goes on; `None` for trailers that end here.
    fn sift(self, mut frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        if let Some(fields) = frame.trailers_mut() {
            if self == Self::Drop {
                return None;
            }
            trailers::strip(fields);
        }
        Some(frame)
    }
}

/// A request's body that notes its progress.
pub(crate) struct RequestBody {
    body: Body,
    progress: Arc<Progress>,
    trailers: Trailers,
}

impl RequestBody {
    /// Wraps `body`, which has not ended.
    pub(crate) fn new(body: Body, progress: Arc<Progress>, trailers: Trailers) -> Self {
        Self {
            body,
            progress,
            trailers,
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.progress.note(frame.as_ref());
            if self.body.is_end_stream() {
                self.progress.complete.store(true, Ordering::Relaxed);
            }
            match frame {
                Some(Ok(frame)) => {
                    if let Some(frame) = self.trailers.sift(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    /// Leaves what was not read where [`Progress::take_rest`] finds it.
    fn drop(&mut self) {
        if !self.progress.complete()
            && !self.progress.unwanted.load(Ordering::Relaxed)
            && let Ok(mut rest) = self.progress.rest.lock()
        {
            *rest = Some(std::mem::take(&mut self.body));
        }
    }
}

/// A response's body that ends its exchange.
pub(crate) struct ResponseBody {
    body: Body,
    exchange: Option<Box<Exchange>>,
    trailers: Trailers,
    /// An error that is told with the next poll.
    broken: Option<BoxError>,
    silence: Silence,
    /// The end of the client's stream.
    ends: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// The body of `exchange`'s answer, which is cut off when nothing moves for too long, and when the
    /// stream has come to its end.
    pub(crate) fn new(body: Body, exchange: Box<Exchange>, trailers: Trailers) -> Self {
        let Patience { idle, ends } = exchange.patience;
        // Of most, nothing is to come. The answer to a stream that has ended goes out.
        let ends = ends.filter(|end| !body.is_end_stream() && *end > Instant::now());
        Self {
            ends: ends.map(|end| Box::pin(tokio::time::sleep_until(end))),
            body,
            exchange: Some(exchange),
            trailers,
            broken: None,
            silence: Silence::new(idle),
        }
    }

    /// The exchange ends as it was noted.
    fn end(&mut self) {
        self.exchange = None;
    }

    /// The exchange ends early, for this reason.
    fn fail(&mut self, (flags, details): (&'static str, &'static str)) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.entry.flags = flags.into();
            exchange.entry.details = details.into();
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let uploaded = self
            .exchange
            .as_ref()
            .and_then(|exchange| exchange.progress());
        let moved = uploaded.map_or(0, |progress| progress.frames());
        self.silence.poll(cx, moved)
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(cx).is_ready()
        {
            self.ends = None;
            self.fail(("", "max_duration_timeout"));
            self.body = Body::empty();
            return Poll::Ready(Some(Err("the stream took too long".into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.poll_silence(cx));
            self.fail(("SI", "stream_idle_timeout"));
            self.body = Body::empty();
            return Poll::Ready(Some(Err("nothing moved for too long".into())));
        };
        self.silence.since = None;
        match frame {
            Some(Ok(frame)) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.entry.bytes_sent += frame.data_ref().map_or(0, Bytes::len) as u64;
                }
                if !frame.is_data() || self.body.is_end_stream() {
                    self.end();
                }
                Poll::Ready(self.trailers.sift(frame).map(Ok))
            }
            Some(Err(error)) => {
                self.fail(reason(&*error));
                // What came before the error is sent first: the connection ends with the error.
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    /// A body that was never read to its end: the client left, unless there was nothing to read.
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.exchange
            && !self.body.is_end_stream()
            && exchange.entry.flags.is_empty()
            && exchange.entry.method != Some(http::Method::HEAD)
        {
            exchange.note_left();
        }
    }
}

/// Flags and details, in Envoy's words, for a body that the endpoint did not finish.
fn reason(error: &(dyn StdError + 'static)) -> (&'static str, &'static str) {
    if error.is::<StreamExpired>() {
        ("UMSDR", "upstream_max_stream_duration_reached")
    } else if ended_early(error) {
        let details = "upstream_reset_after_response_started{protocol_error}";
        ("UPE", details)
    } else if causes(error).any(|cause| cause.is::<h2::Error>()) {
        ("UR", "upstream_reset_after_response_started{remote_reset}")
    } else if causes(error).any(|cause| cause.is::<hyper::Error>()) {
        let details = "upstream_reset_after_response_started{connection_termination}";
        ("UC", details)
    } else {
        ("UT", "response_timeout")
    }
}

/// Whether a message ended before its end: its sender closed the connection in its midst.
pub(crate) fn ended_early(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let hyper = cause.downcast_ref::<hyper::Error>();
        let io = cause.downcast_ref::<io::Error>();
        hyper.is_some_and(hyper::Error::is_incomplete_message)
            || io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    })
}

/// An error and what it comes from.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| {
        (*error).source()
    })
}

/// Notices that nothing moves. Costs nothing as long as there is something to send.
struct Silence {
    limit: Option<Duration>,
    /// Since when; `None` if the last poll found something.
    since: Option<Instant>,
    /// Frames of the request by then: a client that sends is not silent.
    uploaded: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            since: None,
            uploaded: 0,
            sleep: None,
        }
    }

    /// To be called when there is nothing to send. Ready when that is so for too long.
    fn poll(&mut self, cx: &mut Context<'_>, uploaded: u64) -> Poll<()> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        if self.uploaded != uploaded {
            self.uploaded = uploaded;
            self.since = None;
        }
        let end = *self.since.get_or_insert_with(Instant::now) + limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        // The timer is set once per limit, not once per frame.
        while sleep.as_mut().poll(cx).is_ready() {
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(end);
        }
        Poll::Pending
    }
}
