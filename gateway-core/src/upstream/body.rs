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
use super::upload::StopUpload;
use crate::balance::Active;
use crate::body::BoxError;
use crate::traffic::breaker::Permit;

/// What a response keeps of its connection.
pub(crate) enum Held {
    /// Driven by whoever reads the body; given back at the end.
    Http1(Box<Http1>),
    /// Driven by its own task; closed at the end.
    Driven(#[allow(dead_code, reason = "kept for its drop")] Driven),
    /// A place on a shared connection; the rest of the upload is stopped at the end.
    Http2(
        #[allow(dead_code, reason = "kept for its drop")] Stream,
        #[allow(dead_code, reason = "kept for its drop")] StopUpload,
    ),
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

impl Held {
    /// Lets the connection's task live on: it hands over an upgraded connection.
    pub(crate) fn detach(self) -> Option<Open> {
        match self {
            Self::Driven(driven) => driven.detach(),
            Self::Http1(_) | Self::Http2(..) => None,
        }
    }
}

/// The life of a stream is over.
#[derive(Debug, thiserror::Error)]
#[error("the response took too long")]
pub(crate) struct Expired;

/// A response's body. Gives its connection back when it has ended; cut off, it ends in an error.
pub struct ResponseBody {
    incoming: Incoming,
    held: Option<Held>,
    counted: Option<Counted>,
    expires: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub(crate) fn new(incoming: Incoming, held: Held, counted: Option<Counted>) -> Self {
        let mut this = Self {
            incoming,
            held: Some(held),
            counted,
            expires: None,
        };
        if this.incoming.is_end_stream() {
            this.finish();
        }
        this
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
        if let Some(Held::Http1(connection)) = self.held.take() {
            connection.release();
        }
        self.counted = None;
        self.expires = None;
    }

    fn fail(&mut self) {
        self.held = None;
        self.counted = None;
        self.expires = None;
    }

    /// What the connection has for the body. Driven here, only the driver makes a frame ready: the
    /// body needs no waker of its own.
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(Held::Http1(connection)) = &mut self.held else {
            return Pin::new(&mut self.incoming).poll_frame(cx);
        };
        let mut asleep = Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(&mut asleep) {
            return Poll::Ready(frame);
        }
        if connection.poll_read(cx).is_ready() {
            // Without its connection the body ends, well or in an error.
            self.held = None;
            return Pin::new(&mut self.incoming).poll_frame(cx);
        }
        Pin::new(&mut self.incoming).poll_frame(&mut asleep)
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
            this.fail();
            return Poll::Ready(Some(Err(Box::new(Expired))));
        }
        let frame = ready!(this.poll_incoming(cx));
        match &frame {
            Some(Ok(frame)) if frame.is_data() && !this.incoming.is_end_stream() => {}
            Some(Ok(_)) | None => this.finish(),
            Some(Err(_)) => this.fail(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
