//! Response body of a backend.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::connection_guard::{ConnectionTask, UpstreamConnectionGuard};
use super::detached::DetachedConnection;
use super::http1::Http1;
use super::http2::{Http2Stream, MAX_FIELDS};
use super::take_request;
use super::upload::{StopUpload, Upload};
use crate::balance::InFlightGuard;
use crate::body::BoxError;
use crate::breaker::Permit;
use crate::reusable_timer::ReusableTimer;
use crate::time_limits::Expired;

/// Source of a response body.
pub(crate) enum ResponseSource {
    /// An HTTP/1 connection. The reader of the body drives the connection, and returns it to its pool at the
    /// end of the body.
    Http1(Box<Http1>),
    /// An HTTP/1 connection that hyper drives in a separate task. The connection is closed at the end of the
    /// body.
    ConnectionTask(Incoming, ConnectionTask),
    /// An HTTP/1 connection that the gateway's codec drives in a separate task. The connection is closed at
    /// the end of the body.
    Detached(DetachedConnection),
    /// A stream of an HTTP/2 connection. At the end of the response, the rest of the upload is stopped.
    Http2(
        Incoming,
        #[allow(dead_code, reason = "held until it is dropped")] Http2Stream,
        #[allow(dead_code, reason = "held until it is dropped")] StopUpload,
    ),
    /// The body has ended.
    Ended,
}

/// Error of a response body: the backend has reset the stream without an error code, or the trailers have too
/// many fields.
#[derive(Debug, thiserror::Error)]
#[error("the backend has reset the stream")]
pub(crate) struct BackendReset;

impl ResponseSource {
    /// Creates the source of a response on `connection`. If the request has been sent completely, the reader
    /// of the body drives the connection. Otherwise a separate task drives it, because the upload must
    /// continue while the client reads slowly.
    pub(super) fn new(
        connection: Box<Http1>,
        request: &mut Request<Upload>,
        upload_done: bool,
    ) -> Self {
        if connection.is_sent().unwrap_or(upload_done) {
            return Self::Http1(connection);
        }
        match connection.into_task() {
            Ok((Some(incoming), task)) => Self::ConnectionTask(incoming, task),
            Ok((None, _)) => Self::Ended,
            Err(connection) => {
                let upload = take_request(request).into_body();
                Self::Detached(DetachedConnection::spawn(connection, upload))
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Http1(connection) => connection.poll_frame(cx),
            Self::ConnectionTask(incoming, _) => {
                Pin::new(incoming).poll_frame(cx).map_err(Into::into)
            }
            Self::Http2(incoming, ..) => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                // If a stream was reset with NO_ERROR or CANCEL, hyper ends the response body as if the body
                // were complete (RFC 9113, section 8.1).
                if frame.is_none() && !incoming.is_end_stream() {
                    return Poll::Ready(Some(Err(BackendReset.into())));
                }
                let trailers = frame
                    .as_ref()
                    .and_then(|frame| frame.as_ref().ok()?.trailers_ref());
                if trailers.is_some_and(|trailers| trailers.len() > MAX_FIELDS) {
                    return Poll::Ready(Some(Err(BackendReset.into())));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Detached(detached) => detached.poll_frame(cx),
            Self::Ended => Poll::Ready(None),
        }
    }

    fn is_ended(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_received(),
            Self::ConnectionTask(incoming, _) | Self::Http2(incoming, ..) => {
                incoming.is_end_stream()
            }
            Self::Detached(detached) => detached.is_received(),
            Self::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Self::Http1(connection) => connection.left(),
            Self::ConnectionTask(incoming, _) | Self::Http2(incoming, ..) => {
                return incoming.size_hint();
            }
            Self::Detached(detached) => detached.left(),
            Self::Ended => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Stores the timer, so that the next request of the connection can reuse it.
    pub(crate) fn keep_timer(&mut self, timer: Option<ReusableTimer>) {
        if let Self::Http1(connection) = self {
            connection.timer = timer;
        }
    }

    /// Turns the connection into a tunnel. The tunnel is counted until the result is dropped.
    pub(crate) fn detach(self) -> Option<TunnelConnection> {
        match self {
            Self::ConnectionTask(_, driven) => driven.detach().map(TunnelConnection::Whole),
            Self::Http2(_, stream, _) => Some(TunnelConnection::Stream(stream)),
            Self::Http1(_) | Self::Detached(_) | Self::Ended => None,
        }
    }
}

/// A connection that has become a tunnel, or a stream of a connection. It is counted until dropped.
pub(crate) enum TunnelConnection {
    Whole(#[allow(dead_code, reason = "held until it is dropped")] UpstreamConnectionGuard),
    Stream(#[allow(dead_code, reason = "held until it is dropped")] Http2Stream),
}

/// Counts a request in flight until dropped.
#[derive(Debug)]
pub(crate) struct RequestPermits {
    _active: InFlightGuard,
    _request: Permit,
}

impl RequestPermits {
    pub(crate) fn new(active: InFlightGuard, request: Permit) -> Self {
        Self {
            _active: active,
            _request: request,
        }
    }
}

/// Response body of a backend. At the end of the body, the connection returns to the pool. If the body is
/// truncated, it ends in an error.
pub struct BackendBody {
    source: ResponseSource,
    permits: Option<RequestPermits>,
    /// Timer for the maximum stream duration.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl BackendBody {
    pub(crate) fn new(source: ResponseSource, permits: Option<RequestPermits>) -> Self {
        let mut this = Self {
            source,
            permits,
            deadline: None,
        };
        if this.source.is_ended() {
            this.finish();
        }
        this
    }

    /// Returns the complete body if it arrived together with the head.
    pub(crate) fn take_complete(&mut self) -> Option<Bytes> {
        let bytes = match &mut self.source {
            ResponseSource::Http1(connection) => connection.take_complete()?,
            ResponseSource::Ended => Bytes::new(),
            _ => return None,
        };
        self.finish();
        Some(bytes)
    }

    /// Ends the body with an error at `deadline`.
    pub(crate) fn expire(&mut self, deadline: Sleep) {
        self.deadline = Some(Box::pin(deadline));
    }

    /// Reads the part of the body that has already been received, up to `limit` bytes, so that the connection
    /// can be reused.
    pub(crate) fn drain(mut self, limit: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = 0;
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut self).poll_frame(&mut cx) {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > limit {
                break;
            }
        }
    }

    fn finish(&mut self) {
        if let ResponseSource::Http1(connection) = self.end() {
            connection.release();
        }
    }

    /// Ends the counting of the request and returns the source.
    fn end(&mut self) -> ResponseSource {
        self.permits = None;
        self.deadline = None;
        std::mem::replace(&mut self.source, ResponseSource::Ended)
    }
}

impl http_body::Body for BackendBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            drop(this.end());
            return Poll::Ready(Some(Err(Box::new(Expired::BackendStream))));
        }
        let frame = ready!(this.source.poll_frame(cx));
        match &frame {
            Some(Ok(_)) if !this.source.is_ended() => {}
            Some(Ok(_)) | None => this.finish(),
            Some(Err(_)) => drop(this.end()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl fmt::Debug for BackendBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendBody").finish_non_exhaustive()
    }
}
