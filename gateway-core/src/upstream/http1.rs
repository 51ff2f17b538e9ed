//! An HTTP/1 connection, driven by the task that uses it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, response};
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::codec::Codec;
use super::connect::EndpointStream;
use super::connection_guard::{CloseNotifier, ConnectionTask};
use super::failure::is_repeatable;
use super::hyper_connection::HyperConnection;
use super::pool::{ConnectTarget, Pool};
use super::{SendFailure, Upload, take_request};
use crate::balance::LiveEndpoint;
use crate::body::BoxError;
use crate::breaker::{CircuitBreaker, Slot};
use crate::error::Error;
use crate::http::hop_by_hop;
use crate::reusable_timer::ReusableTimer;

/// An HTTP/1 connection, with the state that the pool needs to decide about its reuse.
pub(crate) struct Http1 {
    driver: Driver,
    opened: Instant,
    requests: u32,
    pub(super) local: Option<SocketAddr>,
    pub(super) idle_for: Duration,
    pub(super) endpoint: Arc<LiveEndpoint>,
    pub(super) slot: Slot,
    pub(super) pool: Weak<Pool>,
    /// Timer for the timeouts of requests.
    pub(super) timer: Option<ReusableTimer>,
    close_notifier: CloseNotifier,
}

/// The HTTP/1 implementation that drives a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "the codec is the common case, and the connection is boxed"
)]
enum Driver {
    /// Our codec.
    Codec(Codec),
    /// hyper.
    Hyper(Box<HyperConnection>),
}

impl Http1 {
    /// Wraps a connected stream. Sends nothing.
    pub(super) async fn handshake(
        stream: EndpointStream,
        slot: Slot,
        to: &ConnectTarget<'_>,
        pool: &Pool,
    ) -> Result<Box<Self>, Error> {
        let EndpointStream { io, local } = stream;
        let buffer = pool.transport().connection.buffer;
        let driver = if to.requires_hyper {
            Driver::Hyper(HyperConnection::handshake(io, buffer).await?)
        } else {
            // The codec needs no limit of its buffer: it buffers at most 64 KiB of a body.
            Driver::Codec(Codec::new(io))
        };
        Ok(Box::new(Self {
            driver,
            opened: Instant::now(),
            requests: 0,
            local,
            idle_for: Duration::ZERO,
            endpoint: to.endpoint.clone(),
            slot,
            pool: pool.weak(),
            timer: None,
            close_notifier: to.close_notifier(),
        }))
    }

    /// Returns whether hyper drives the connection.
    pub(super) fn uses_hyper(&self) -> bool {
        matches!(self.driver, Driver::Hyper(_))
    }

    /// The breaker that counts the connection.
    pub(super) fn breaker(&self) -> &Arc<CircuitBreaker> {
        self.slot.breaker()
    }

    /// Returns whether the connection is open and ready for a request.
    pub(super) fn is_ready(&mut self) -> bool {
        match &mut self.driver {
            Driver::Codec(codec) => codec.is_reusable() && codec.is_quiet(),
            Driver::Hyper(hyper) => hyper.is_ready(),
        }
    }

    /// Returns whether the connection may be ready for a request. The socket is checked when the connection
    /// is taken.
    fn is_reusable(&mut self) -> bool {
        match &mut self.driver {
            Driver::Codec(codec) => {
                codec.release_large_buffer();
                codec.is_reusable()
            }
            Driver::Hyper(hyper) => hyper.is_ready(),
        }
    }

    /// Sends a request and reads the response head, from which hop-by-hop fields are removed. If this fails
    /// or the future is dropped, the connection must be closed.
    pub(super) async fn exchange(
        &mut self,
        request: &mut Request<Upload>,
    ) -> Result<response::Parts, SendFailure> {
        self.requests += 1;
        let repeatable = self.requests > 1 && is_repeatable(request);
        match &mut self.driver {
            Driver::Codec(codec) => {
                codec.begin(request);
                let result = poll_fn(|cx| codec.poll_exchange(cx, request)).await;
                result.map_err(|failure| failure.if_stale(repeatable && !codec.has_received()))
            }
            // This future is boxed, so that requests without hyper, which are the majority, reserve no memory
            // for it.
            Driver::Hyper(hyper) => {
                let sent = take_request(request);
                let copy = repeatable.then(|| copy_without_body(&sent));
                match Box::pin(hyper.exchange(sent)).await {
                    Ok(response) => {
                        let mut head = response.into_parts().0;
                        let cleaned = hop_by_hop::response(&mut head, None);
                        cleaned.map_err(|_| SendFailure::Sent(Error::Protocol(None)))?;
                        Ok(head)
                    }
                    Err((failure, unsent)) => {
                        restore(request, unsent.or(copy));
                        Err(failure.if_stale(repeatable))
                    }
                }
            }
        }
    }

    /// Sends a request that may switch the protocol.
    pub(super) async fn switch(
        self: Box<Self>,
        request: &mut Request<Upload>,
    ) -> Result<(response::Parts, Incoming, ConnectionTask), SendFailure> {
        let Self {
            driver,
            slot,
            close_notifier,
            ..
        } = *self;
        let Driver::Hyper(hyper) = driver else {
            return Err(SendFailure::Sent(Error::UpgradeRefused));
        };
        let (response, task) = hyper.switch(take_request(request)).await;
        let driven = ConnectionTask::new(task, slot, close_notifier);
        match response {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                Ok((head, incoming, driven))
            }
            Err((error, unsent)) => {
                restore(request, unsent);
                Err(error)
            }
        }
    }

    /// Polls the next frame of the response body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.driver {
            Driver::Codec(codec) => codec.poll_frame(cx).map_err(Into::into),
            Driver::Hyper(hyper) => hyper.poll_frame(cx).map_err(Into::into),
        }
    }

    /// Continues to send the request; errors are ignored.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, upload: &mut Upload) {
        if let Driver::Codec(codec) = &mut self.driver {
            // Only the response determines the result of the request. If the upload fails, the connection is
            // not reused.
            let _ = codec.poll_send(cx, upload);
        }
    }

    /// Returns the complete body if it arrived together with the head.
    pub(super) fn take_complete(&mut self) -> Option<Bytes> {
        match &mut self.driver {
            Driver::Codec(codec) => codec.take_complete(),
            Driver::Hyper(_) => None,
        }
    }

    /// Returns whether the response has ended.
    pub(super) fn is_received(&self) -> bool {
        match &self.driver {
            Driver::Codec(codec) => codec.is_received(),
            Driver::Hyper(hyper) => hyper.is_received(),
        }
    }

    /// Remaining length of the body in bytes, if known.
    pub(super) fn left(&self) -> Option<u64> {
        match &self.driver {
            Driver::Codec(codec) => codec.left(),
            Driver::Hyper(hyper) => hyper.left(),
        }
    }

    /// Returns whether the whole request has been written to the socket. `None` if hyper drives the
    /// connection.
    pub(super) fn is_sent(&self) -> Option<bool> {
        match &self.driver {
            Driver::Codec(codec) => Some(codec.is_sent()),
            Driver::Hyper(_) => None,
        }
    }

    /// Moves a connection that hyper drives to a separate task.
    ///
    /// # Errors
    /// Returns the connection itself if the gateway's codec drives it.
    pub(super) fn into_task(
        self: Box<Self>,
    ) -> Result<(Option<Incoming>, ConnectionTask), Box<Self>> {
        match *self {
            Self {
                driver: Driver::Hyper(hyper),
                slot,
                close_notifier,
                ..
            } => {
                let (incoming, task) = hyper.spawn();
                Ok((incoming, ConnectionTask::new(task, slot, close_notifier)))
            }
            other => Err(Box::new(other)),
        }
    }

    /// Returns the connection to its pool if it can be reused.
    pub(super) fn release(mut self: Box<Self>) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let transport = pool.transport();
        let exhausted = transport
            .max_requests_per_connection
            .is_some_and(|max| self.requests >= max)
            || transport
                .max_connection_duration
                .is_some_and(|max| self.opened.elapsed() >= max)
            || self.endpoint.is_removed();
        if !exhausted && self.is_reusable() {
            pool.put(self);
        }
    }

    /// Adds `passed` to the idle time and releases memory that an idle connection does not need.
    pub(super) fn note_idle(&mut self, passed: Duration) {
        self.idle_for += passed;
        self.timer = None;
        if let Driver::Codec(codec) = &mut self.driver {
            codec.release_buffers();
        }
    }

    /// Returns whether the connection has exceeded its maximum age.
    pub(super) fn is_expired(&self, max: Option<Duration>) -> bool {
        max.is_some_and(|max| self.opened.elapsed() >= max)
    }
}

/// Copies a request, which must not have a body.
fn copy_without_body(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// Restores a request that was not sent, so that it can be sent over another connection.
pub(super) fn restore(request: &mut Request<Upload>, unsent: Option<Request<Upload>>) {
    if let Some(unsent) = unsent {
        *request = unsent;
    }
}
