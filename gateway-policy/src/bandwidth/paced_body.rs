//! A body that is sent no faster than an allowance permits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use towergate_core::plan::Text;
use towergate_core::{Body, BoxError};

use super::DelayTrailers;
use super::allowance::Allowance;

/// Delays of one request, for the trailers of its response.
#[derive(Debug)]
pub(super) struct DelayReport {
    names: Arc<DelayTrailers>,
    /// Milliseconds from the first to the last byte of the request body.
    request: AtomicU64,
    /// Milliseconds by which the limit delayed the request body.
    request_delay: AtomicU64,
}

impl DelayReport {
    pub(super) fn new(names: Arc<DelayTrailers>) -> Self {
        Self {
            names,
            request: AtomicU64::new(0),
            request_delay: AtomicU64::new(0),
        }
    }

    /// Adds the delays to `trailers`. As in Envoy, delays of 0 are omitted.
    fn add_to(&self, trailers: &mut HeaderMap, response: Duration, response_delay: Duration) {
        let mut add = |name: &Text<HeaderName>, value: u64| {
            if value > 0 {
                trailers.insert(HeaderName::clone(name), HeaderValue::from(value));
            }
        };
        add(&self.names.request, self.request.load(Ordering::Relaxed));
        add(
            &self.names.request_delay,
            self.request_delay.load(Ordering::Relaxed),
        );
        add(&self.names.response, milliseconds(response));
        add(&self.names.response_delay, milliseconds(response_delay));
    }
}

/// A body that is sent in small pieces, each when the allowance permits.
pub(super) struct PacedBody {
    inner: Body,
    allowance: Option<Arc<Allowance>>,
    report: Option<Arc<DelayReport>>,
    response: bool,
    /// Data that was read and is not sent yet.
    rest: Bytes,
    /// The next piece, and the timer that delays it.
    next: Option<(Bytes, Pin<Box<Sleep>>)>,
    begun: Option<Instant>,
    delay: Duration,
    ended: bool,
}

impl PacedBody {
    pub(super) fn request(
        inner: Body,
        allowance: Arc<Allowance>,
        report: Option<Arc<DelayReport>>,
    ) -> Self {
        Self::new(inner, Some(allowance), report, false)
    }

    pub(super) fn response(
        inner: Body,
        allowance: Option<Arc<Allowance>>,
        report: Option<Arc<DelayReport>>,
    ) -> Self {
        Self::new(inner, allowance, report, true)
    }

    fn new(
        inner: Body,
        allowance: Option<Arc<Allowance>>,
        report: Option<Arc<DelayReport>>,
        response: bool,
    ) -> Self {
        Self {
            inner,
            allowance,
            report,
            response,
            rest: Bytes::new(),
            next: None,
            begun: None,
            delay: Duration::ZERO,
            ended: false,
        }
    }

    /// Returns the next piece of the data that was read, or starts the timer that delays it.
    fn next_piece(&mut self) -> Option<Bytes> {
        let Some(allowance) = &self.allowance else {
            return Some(std::mem::take(&mut self.rest));
        };
        let piece = self.rest.split_to(allowance.piece().min(self.rest.len()));
        match allowance.take(piece.len()) {
            None => Some(piece),
            Some(due) => {
                self.delay += due.saturating_duration_since(Instant::now());
                self.next = Some((piece, Box::pin(sleep_until(due))));
                None
            }
        }
    }

    /// Ends the body. The delays of a request body are stored in the report; a response body returns its
    /// trailers with the report added.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Option<HeaderMap> {
        self.ended = true;
        let Some(report) = &self.report else {
            return trailers;
        };
        let time = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        if !self.response {
            report.request.store(milliseconds(time), Ordering::Relaxed);
            report
                .request_delay
                .store(milliseconds(self.delay), Ordering::Relaxed);
            return trailers;
        }
        let mut all = trailers.unwrap_or_default();
        report.add_to(&mut all, time, self.delay);
        (!all.is_empty()).then_some(all)
    }
}

impl Drop for PacedBody {
    /// Returns the allowance of the piece that was not sent, so that a cancelled body does not delay other
    /// bodies.
    fn drop(&mut self) {
        if let (Some(allowance), Some((piece, _))) = (&self.allowance, &self.next) {
            allowance.refund(piece.len());
        }
    }
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some((piece, timer)) = &mut this.next {
                ready!(timer.as_mut().poll(cx));
                let piece = std::mem::take(piece);
                this.next = None;
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if !this.rest.is_empty() {
                match this.next_piece() {
                    Some(piece) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                    None => continue,
                }
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx)?);
            this.begun.get_or_insert_with(Instant::now);
            let trailers = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    this.rest = data;
                    continue;
                }
                Some(Err(frame)) => frame.into_trailers().ok(),
                None => None,
            };
            let trailers = this.end(trailers);
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
    }

    fn is_end_stream(&self) -> bool {
        let trailers = self.response && self.report.is_some();
        let empty = self.rest.is_empty() && self.next.is_none();
        self.ended && empty || empty && !trailers && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The length is needed only before the first frame, and is exact only then.
        if self.begun.is_some() {
            return SizeHint::default();
        }
        self.inner.size_hint()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
