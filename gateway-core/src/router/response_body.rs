//! Response bodies that pass through the gateway. The bytes of a body are counted, its duration is limited,
//! and its trailers are filtered. The record of a request ends with its response body.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::exchange::Exchange;
use super::request_body::Trailers;
use super::timers::ResponseTimer;
use crate::Body;
use crate::body::BoxError;
use crate::http::settings::ListenerSettings;
use crate::serve::NoResponse;
use crate::time_limits::Expired;
use crate::upstream::BackendReset;

/// Completes the response of `exchange`. The exchange ends with the response body, unless a tunnel follows
/// the response.
pub(super) fn finish(
    exchange: Box<Exchange>,
    mut response: Response<Body>,
    settings: &ListenerSettings,
) -> Response<Body> {
    if exchange.has_client_left() {
        response.extensions_mut().insert(NoResponse);
    }
    let Some(exchange) = exchange.conclude(&response) else {
        return response;
    };
    let trailers = exchange.trailers(settings);
    response.map(|body| Body::boxed(ResponseBody::new(body, exchange, trailers)))
}

/// A response body whose end is the end of its exchange.
struct ResponseBody {
    body: Body,
    exchange: Option<Box<Exchange>>,
    trailers: Trailers,
    /// Error that the next poll returns.
    broken: Option<BoxError>,
    timer: ResponseTimer,
}

impl ResponseBody {
    /// Creates the response body of `exchange`. The body ends with an error if it is idle for too long, or if
    /// it reaches the deadline of the stream.
    fn new(body: Body, exchange: Box<Exchange>, trailers: Trailers) -> Self {
        let mut timeouts = exchange.timeouts;
        // A body that is already complete needs no timer.
        timeouts.deadline = timeouts.deadline.filter(|_| !body.is_end_stream());
        Self {
            timer: ResponseTimer::new(timeouts),
            body,
            exchange: Some(exchange),
            trailers,
            broken: None,
        }
    }

    /// Ends the exchange normally.
    fn end(&mut self) {
        self.exchange = None;
    }

    /// Ends the exchange with an error.
    fn fail(&mut self, flags: &'static str, details: impl Into<Cow<'static, str>>) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.entry.flags = flags.into();
            exchange.entry.details = details.into();
        }
    }

    /// Ends the body and the exchange because a time limit has expired.
    fn expire(&mut self, expired: Expired) -> BoxError {
        let reply = expired.after_head();
        self.fail(reply.flag, reply.details);
        self.body = Body::empty();
        expired.into()
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        let exchange = self.exchange.as_ref();
        let progress = exchange.and_then(|exchange| exchange.progress());
        self.timer.poll(cx, progress)
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
                    if let Some(trailers) = frame.trailers_ref() {
                        exchange.note_trailers(trailers);
                    }
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
                // The error is returned by the next poll, so that the codec first sends the frames before it.
                // The error makes the codec close the connection.
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
    /// Unless the body was read to its end, records that the client has disconnected or accepts no data.
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.exchange
            && !self.body.is_end_stream()
            && exchange.entry.flags.is_empty()
            && exchange.entry.method != Some(http::Method::HEAD)
            // Responses with these statuses have no body, so the codec does not read the body to its end.
            && !matches!(exchange.entry.status, Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
        {
            exchange.note_left();
        }
    }
}

/// The response flags and details that Envoy uses for a body that is incomplete because of the endpoint.
fn reason(error: &(dyn StdError + 'static)) -> (&'static str, &'static str) {
    const MALFORMED: (&str, &str) = (
        "UPE",
        "upstream_reset_after_response_started{protocol_error}",
    );
    const RESET: (&str, &str) = ("UR", "upstream_reset_after_response_started{remote_reset}");
    const REFUSED: (&str, &str) = (
        "UR",
        "upstream_reset_after_response_started{remote_refused_stream_reset}",
    );
    const TERMINATED: (&str, &str) = (
        "UC",
        "upstream_reset_after_response_started{connection_termination}",
    );
    if causes(error).any(|cause| cause.is::<BackendReset>()) {
        return RESET;
    }
    match causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>()) {
        Some(error) if error.is_io() => TERMINATED,
        // GOAWAY: the backend does not process the stream (RFC 9113, section 6.8).
        Some(error) if error.is_remote() && error.is_go_away() => REFUSED,
        Some(error) if error.is_remote() => RESET,
        // The gateway detected the defect, for example a wrong content-length.
        Some(_) => MALFORMED,
        None if ended_early(error) || is_malformed(error) => MALFORMED,
        // The connection failed, by a reset, a TLS alert, or an error of hyper.
        None => TERMINATED,
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
fn ended_early(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let hyper = cause.downcast_ref::<hyper::Error>();
        let io = cause.downcast_ref::<io::Error>();
        hyper.is_some_and(hyper::Error::is_incomplete_message)
            || io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    })
}

/// Iterates over an error and its sources.
fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| {
        (*error).source()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_the_backend_did_not_complete_has_the_flag_of_its_cause() {
        let flag = |error: &(dyn StdError + 'static)| reason(error).0;
        let io = io::Error::from;

        assert_eq!(flag(&BackendReset), "UR");
        assert_eq!(flag(&h2::Error::from(h2::Reason::PROTOCOL_ERROR)), "UPE");
        assert_eq!(flag(&io(io::ErrorKind::UnexpectedEof)), "UPE");
        assert_eq!(flag(&io(io::ErrorKind::InvalidData)), "UPE");
        assert_eq!(flag(&io(io::ErrorKind::ConnectionReset)), "UC");
    }
}
