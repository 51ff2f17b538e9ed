//! Response bodies that pass through the gateway: bytes are counted, time is limited, trailers are filtered. The record
//! of a request ends with its response body.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};

use super::exchange::Exchange;
use super::request_body::Trailers;
use super::timers::ResponseTimer;
use crate::Body;
use crate::body::BoxError;
use crate::http::settings::ListenerSettings;
use crate::serve::stream_task;
use crate::time_limits::Expired;

/// Completes the response of `exchange`, which ends with the body unless the response starts a tunnel.
pub(super) fn finish(
    exchange: Box<Exchange>,
    response: Response<Body>,
    settings: &ListenerSettings,
) -> Response<Body> {
    let Some(exchange) = exchange.conclude(&response) else {
        return response;
    };
    let trailers = exchange.trailers(settings);
    response.map(|body| Body::boxed(ResponseBody::new(body, exchange, trailers)))
}

/// A response body that ends its exchange.
struct ResponseBody {
    body: Body,
    exchange: Option<Box<Exchange>>,
    trailers: Trailers,
    /// Error that the next poll returns.
    broken: Option<BoxError>,
    timer: ResponseTimer,
}

impl ResponseBody {
    /// The response body of `exchange`. It ends with an error when it is idle for too long, and at the
    /// deadline of the stream.
    fn new(body: Body, exchange: Box<Exchange>, trailers: Trailers) -> Self {
        let mut timeouts = exchange.timeouts;
        // A complete body needs no timer.
        timeouts.deadline = timeouts.deadline.filter(|_| !body.is_end_stream());
        Self {
            timer: ResponseTimer::new(timeouts),
            body,
            exchange: Some(exchange),
            trailers,
            broken: None,
        }
    }

    /// Ends the exchange.
    fn end(&mut self) {
        self.exchange = None;
    }

    /// Ends the exchange early.
    fn fail(&mut self, flags: &'static str, details: impl Into<Cow<'static, str>>) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.entry.flags = flags.into();
            exchange.entry.details = details.into();
        }
    }

    /// Ends the body and the exchange by a time limit.
    fn expire(&mut self, expired: Expired) -> BoxError {
        let reply = expired.after_head();
        self.fail(reply.flag, reply.details);
        self.body = Body::empty();
        expired.into()
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        let uploaded = self
            .exchange
            .as_ref()
            .and_then(|exchange| exchange.progress());
        let moved = uploaded.map_or(0, |progress| progress.frames());
        self.timer.poll(cx, moved)
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
        if self.exchange.is_some() && self.timer.is_past_stream_end() {
            return Poll::Ready(Some(Err(self.expire(Expired::ClientStream))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let expired = ready!(self.poll_timer(cx));
            return Poll::Ready(Some(Err(self.expire(expired))));
        };
        self.timer.restart();
        match frame {
            Some(Ok(frame)) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.entry.bytes_sent += frame.data_ref().map_or(0, Bytes::len) as u64;
                }
                if !frame.is_data() || self.body.is_end_stream() {
                    self.end();
                }
                Poll::Ready(self.trailers.filter(frame).map(Ok))
            }
            Some(Err(error)) => {
                match error.downcast_ref::<Expired>() {
                    Some(expired) => {
                        let reply = expired.after_head();
                        self.fail(reply.flag, reply.details);
                    }
                    None => {
                        let (flags, details) = reason(&*error);
                        self.fail(flags, details);
                    }
                }
                // Earlier frames are sent first: the connection ends with the error.
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
    /// Records that the client has disconnected or accepts no data, if the body was not read to its end.
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.exchange
            && !self.body.is_end_stream()
            && exchange.entry.flags.is_empty()
            && exchange.entry.method != Some(http::Method::HEAD)
        {
            if stream_task::is_expiring() {
                exchange.entry.flags = "SI".into();
                exchange.entry.details = "stream_idle_timeout".into();
            } else {
                exchange.note_left();
            }
        }
    }
}

/// Envoy's flags and details for a body that the endpoint did not complete.
fn reason(error: &(dyn StdError + 'static)) -> (&'static str, &'static str) {
    if ended_early(error) || is_malformed(error) {
        let details = "upstream_reset_after_response_started{protocol_error}";
        ("UPE", details)
    } else if causes(error).any(|cause| cause.is::<h2::Error>()) {
        ("UR", "upstream_reset_after_response_started{remote_reset}")
    } else {
        // The connection failed: reset, TLS alert, or an error of hyper.
        let details = "upstream_reset_after_response_started{connection_termination}";
        ("UC", details)
    }
}

/// Whether the endpoint sent a malformed chunk, trailer or frame.
fn is_malformed(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let hyper = cause.downcast_ref::<hyper::Error>();
        let io = cause.downcast_ref::<io::Error>();
        hyper.is_some_and(hyper::Error::is_parse)
            || io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
    })
}

/// Whether the sender closed the connection in the middle of a message.
pub(crate) fn ended_early(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let hyper = cause.downcast_ref::<hyper::Error>();
        let io = cause.downcast_ref::<io::Error>();
        hyper.is_some_and(hyper::Error::is_incomplete_message)
            || io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    })
}

/// An error and its sources.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| {
        (*error).source()
    })
}
