//! A response's body on its way from an endpoint.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::http1::{Driven, Http1, Open};
use super::http2::Stream;
use super::relay::Relay;
use super::upload::StopUpload;
use crate::alarm::Alarm;
use crate::balance::Active;
use crate::body::BoxError;
use crate::traffic::breaker::Permit;

/// Where a response's body comes from.
pub(crate) enum Received {
    /// A connection, driven by whoever reads the body; given back at the end.
    Http1(Box<Http1>),
    /// A connection with a task of its own, closed at the end.
    Driven(Incoming, Driven),
    /// The same, of our own making.
    Relayed(Relay),
    /// A place on a shared connection; the rest of the upload is stopped at the end.
    Http2(
        Incoming,
        #[allow(dead_code, reason = "kept for its drop")] Stream,
        #[allow(dead_code, reason = "kept for its drop")] StopUpload,
    ),
    /// Nowhere any more.
    Over,
}

impl Received {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Http1(connection) => connection.poll_frame(cx),
            Self::Driven(incoming, _) | Self::Http2(incoming, ..) => {
                Pin::new(incoming).poll_frame(cx).map_err(Into::into)
            }
            Self::Relayed(relay) => relay.poll_frame(cx),
            Self::Over => Poll::Ready(None),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_received(),
            Self::Driven(incoming, _) | Self::Http2(incoming, ..) => incoming.is_end_stream(),
            Self::Relayed(relay) => relay.is_received(),
            Self::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Self::Http1(connection) => connection.left(),
            Self::Driven(incoming, _) | Self::Http2(incoming, ..) => return incoming.size_hint(),
            Self::Relayed(relay) => relay.left(),
            Self::Over => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Leaves an alarm to the next request of the connection.
    pub(crate) fn keep_alarm(&mut self, alarm: Option<Alarm>) {
        if let Self::Http1(connection) = self {
            connection.alarm = alarm;
        }
    }

    /// Lets the connection's task live on: it hands over an upgraded connection.
    pub(crate) fn detach(self) -> Option<Open> {
        match self {
            Self::Driven(_, driven) => driven.detach(),
            Self::Http1(_) | Self::Relayed(_) | Self::Http2(..) | Self::Over => None,
        }
    }
}

/// What is counted while a request is under way.
#[derive(Debug)]
pub(crate) struct Counted {
    _active: Active,
    _request: Permit,
}

impl Counted {
    pub(crate) fn new(active: Active, request: Permit) -> Self {
        Self {
            _active: active,
            _request: request,
        }
    }
}

/// The life of a stream is over.
#[derive(Debug, thiserror::Error)]
#[error("the response took too long")]
pub(crate) struct Expired;

/// A response's body. Gives its connection back when it has ended; cut off, it ends in an error.
pub struct ResponseBody {
    received: Received,
    counted: Option<Counted>,
    expires: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub(crate) fn new(received: Received, counted: Option<Counted>) -> Self {
        let mut this = Self {
            received,
            counted,
            expires: None,
        };
        if this.received.is_over() {
            this.finish();
        }
        this
    }

    /// The whole body, if all of it came with the head.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        let whole = match &mut self.received {
            Received::Http1(connection) => connection.take_whole()?,
            Received::Over => Bytes::new(),
            _ => return None,
        };
        self.finish();
        Some(whole)
    }

    /// Cuts the body off when `expires` is over.
    pub(crate) fn expire(&mut self, expires: Sleep) {
        self.expires = Some(Box::pin(expires));
    }

    /// Reads what is there, up to `limit` bytes, so that the connection may be used again.
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
        if let Received::Http1(connection) = self.end() {
            connection.release();
        }
    }

    /// Nothing more is wanted of the connection.
    fn end(&mut self) -> Received {
        self.counted = None;
        self.expires = None;
        std::mem::replace(&mut self.received, Received::Over)
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(expires) = &mut this.expires
            && expires.as_mut().poll(cx).is_ready()
        {
            drop(this.end());
            return Poll::Ready(Some(Err(Box::new(Expired))));
        }
        let frame = ready!(this.received.poll_frame(cx));
        match &frame {
            Some(Ok(_)) if !this.received.is_over() => {}
            Some(Ok(_)) | None => this.finish(),
            Some(Err(_)) => drop(this.end()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.received.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
