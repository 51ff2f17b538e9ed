//! One HTTP/1 connection, driven by the task that uses it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, response};
use http_body::Frame;
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::body::Received;
use super::cased::Cased;
use super::codec::{Codec, Failed};
use super::connect::Connected;
use super::pool::{Pool, Target};
use super::relay::Relay;
use super::{Upload, take};
use crate::alarm::Alarm;
use crate::balance::{Cluster, Node};
use crate::body::BoxError;
use crate::error::Error;
use crate::http::hop_by_hop;
use crate::observer::{Event, Observer};
use crate::traffic::breaker::{Breaker, Slot};

/// A connection and what the pool must know of it.
pub(crate) struct Http1 {
    wire: Wire,
    opened: Instant,
    requests: u32,
    pub(super) local: Option<SocketAddr>,
    pub(super) idle_for: Duration,
    pub(super) node: Arc<Node>,
    pub(super) slot: Slot,
    pub(super) pool: Weak<Pool>,
    /// Bounds each request's time.
    pub(super) alarm: Option<Alarm>,
    told: Told,
}

/// Who speaks.
#[expect(
    clippy::large_enum_variant,
    reason = "the rule, not the exception, and boxed with the connection"
)]
enum Wire {
    /// We do.
    Own(Codec),
    /// hyper does.
    Hyper(Box<Cased>),
}

/// Tells that the connection ended.
pub(super) struct Told {
    pub(super) observer: Arc<dyn Observer>,
    pub(super) cluster: Arc<Cluster>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.observer
            .observe(&Event::UpstreamClosed(self.cluster.id()));
    }
}

/// A request that did not get a response.
pub(crate) enum Unanswered {
    /// It may have reached the endpoint.
    Sent(Error),
    /// Not a byte was sent: the connection had ended. The request is where it was.
    Unsent,
}

impl From<Failed> for Unanswered {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sent(error) => Self::Sent(error),
            Failed::Unsent => Self::Unsent,
        }
    }
}

impl Http1 {
    /// Prepares a fresh stream; nothing is sent yet.
    pub(super) async fn handshake(
        connected: Connected,
        slot: Slot,
        to: &Target<'_>,
        pool: &Pool,
    ) -> Result<Box<Self>, Error> {
        let Connected { stream, local } = connected;
        let buffer = pool.transport().connection.buffer;
        let wire = if to.by_hyper {
            Wire::Hyper(Cased::handshake(stream, buffer).await?)
        } else {
            // It never has more than 64 KiB of a body.
            Wire::Own(Codec::new(stream))
        };
        Ok(Box::new(Self {
            wire,
            opened: Instant::now(),
            requests: 0,
            local,
            idle_for: Duration::ZERO,
            node: to.node.clone(),
            slot,
            pool: pool.weak(),
            alarm: None,
            told: to.told(),
        }))
    }

    /// Whether hyper speaks.
    pub(super) fn is_by_hyper(&self) -> bool {
        matches!(self.wire, Wire::Hyper(_))
    }

    /// Whose connection it is.
    pub(super) fn breaker(&self) -> &Arc<Breaker> {
        self.slot.breaker()
    }

    /// Whether the connection is open and ready for a request.
    pub(super) fn is_ready(&mut self) -> bool {
        match &mut self.wire {
            Wire::Own(codec) => codec.is_reusable() && codec.is_silent(),
            Wire::Hyper(cased) => cased.is_ready(),
        }
    }

    /// Whether the connection may be ready for a request. Whoever takes it looks at the socket.
    fn is_reusable(&mut self) -> bool {
        match &mut self.wire {
            Wire::Own(codec) => {
                codec.give_back();
                codec.is_reusable()
            }
            Wire::Hyper(cased) => cased.is_ready(),
        }
    }

    /// Sends a request and reads the response's head, without what belongs to the connection. If this fails
    /// or is dropped, the connection must be closed.
    pub(super) async fn exchange(
        &mut self,
        request: &mut Request<Upload>,
    ) -> Result<response::Parts, Unanswered> {
        self.requests += 1;
        match &mut self.wire {
            Wire::Own(codec) => {
                codec.begin(request);
                Ok(poll_fn(|cx| codec.poll_exchange(cx, request)).await?)
            }
            // Boxed: few requests are spoken by hyper, and none needs room for the others.
            Wire::Hyper(cased) => match Box::pin(cased.exchange(take(request))).await {
                Ok(response) => {
                    let mut head = response.into_parts().0;
                    let cleaned = hop_by_hop::response(&mut head, None);
                    cleaned.map_err(|_| Unanswered::Sent(Error::Protocol(None)))?;
                    Ok(head)
                }
                Err((error, unsent)) => {
                    put_back(request, unsent);
                    Err(error)
                }
            },
        }
    }

    /// Sends a request that may switch the protocol.
    pub(super) async fn switch(
        self: Box<Self>,
        request: &mut Request<Upload>,
    ) -> Result<(response::Parts, Incoming, Driven), Unanswered> {
        let Self {
            wire, slot, told, ..
        } = *self;
        let Wire::Hyper(cased) = wire else {
            return Err(Unanswered::Sent(Error::UpgradeRefused));
        };
        let (response, task) = cased.switch(take(request)).await;
        let driven = Driven::new(task, slot, told);
        match response {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                Ok((head, incoming, driven))
            }
            Err((error, unsent)) => {
                put_back(request, unsent);
                Err(error)
            }
        }
    }

    /// The next part of the response's body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.wire {
            Wire::Own(codec) => codec.poll_frame(cx).map_err(Into::into),
            Wire::Hyper(cased) => cased.poll_frame(cx).map_err(Into::into),
        }
    }

    /// Sends on what is left of the request, whatever comes of it.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, upload: &mut Upload) {
        if let Wire::Own(codec) = &mut self.wire {
            // The response decides; a broken upload only keeps the connection from being used again.
            let _ = codec.poll_send(cx, upload);
        }
    }

    /// The whole body, if all of it came with the head.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.wire {
            Wire::Own(codec) => codec.take_whole(),
            Wire::Hyper(_) => None,
        }
    }

    /// Whether the response is over.
    pub(super) fn is_received(&self) -> bool {
        match &self.wire {
            Wire::Own(codec) => codec.is_received(),
            Wire::Hyper(cased) => cased.is_received(),
        }
    }

    /// How many bytes of the body are to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match &self.wire {
            Wire::Own(codec) => codec.left(),
            Wire::Hyper(cased) => cased.left(),
        }
    }

    /// The way to the response's body: here, driven by who reads it, if the request is sent. Else the
    /// connection gets a task, as the upload must go on while the client is slow to read.
    pub(super) fn receive(self: Box<Self>, request: &mut Request<Upload>, sent: bool) -> Received {
        let sent = match &self.wire {
            Wire::Own(codec) => codec.is_sent(),
            Wire::Hyper(_) => sent,
        };
        if sent {
            return Received::Http1(self);
        }
        match *self {
            Self {
                wire: Wire::Hyper(cased),
                slot,
                told,
                ..
            } => {
                let (incoming, task) = cased.spawn();
                let driven = Driven::new(task, slot, told);
                incoming.map_or(Received::Over, |incoming| {
                    Received::Driven(incoming, driven)
                })
            }
            own => Received::Relayed(Relay::spawn(Box::new(own), take(request).into_body())),
        }
    }

    /// Gives the connection back to its pool, if it can take another request.
    pub(super) fn release(mut self: Box<Self>) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let transport = pool.transport();
        let worn = transport
            .max_requests_per_connection
            .is_some_and(|max| self.requests >= max)
            || transport
                .max_connection_duration
                .is_some_and(|max| self.opened.elapsed() >= max)
            || self.node.is_gone();
        if !worn && self.is_reusable() {
            pool.put(self);
        }
    }

    /// Notes that the connection was idle for so long more; it needs no memory then.
    pub(super) fn note_idle(&mut self, passed: Duration) {
        self.idle_for += passed;
        self.alarm = None;
        if let Wire::Own(codec) = &mut self.wire {
            codec.rest();
        }
    }

    /// Whether the connection is too old for another request.
    pub(super) fn is_expired(&self, max: Option<Duration>) -> bool {
        max.is_some_and(|max| self.opened.elapsed() >= max)
    }
}

/// Puts a request that was not sent where it was.
pub(super) fn put_back(request: &mut Request<Upload>, unsent: Option<Request<Upload>>) {
    if let Some(unsent) = unsent {
        *request = unsent;
    }
}

/// A connection's own task; ends with this.
pub(crate) struct Driven {
    task: JoinHandle<()>,
    open: Option<Open>,
}

/// Counts a connection that is open.
pub(crate) struct Open {
    _slot: Slot,
    _told: Told,
}

impl Open {
    pub(super) fn new(slot: Slot, told: Told) -> Self {
        Self {
            _slot: slot,
            _told: told,
        }
    }
}

impl Driven {
    fn new(task: JoinHandle<()>, slot: Slot, told: Told) -> Self {
        Self {
            task,
            open: Some(Open::new(slot, told)),
        }
    }

    /// Lets the task live on, to hand over an upgraded connection; it counts until what is returned is
    /// dropped.
    pub(super) fn detach(mut self) -> Option<Open> {
        self.open.take()
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.task.abort();
        }
    }
}
