//! One HTTP/1 connection, driven by the task that uses it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::failure::classify;
use super::pool::{Pool, Target};
use super::stream::{Meter, Stream};
use super::{Upload, connect::Connected};
use crate::balance::{Cluster, Node};
use crate::error::Error;
use crate::observer::{Event, Observer};
use crate::traffic::breaker::{Breaker, Slot};

/// Bytes of a response's head; also bounds the interim responses before it.
const MAX_HEAD: usize = 60 * 1024;
/// Bytes buffered in each direction unless a policy says otherwise (hyper's own bound).
const BUFFER: usize = 8192 + 4096 * 100;

/// A connection and what the pool must know of it.
pub(crate) struct Http1 {
    sender: http1::SendRequest<Upload>,
    driver: http1::Connection<TokioIo<Stream>, Upload>,
    /// The driver has nothing more to do, and must not be polled.
    ended: bool,
    meter: Meter,
    pub(super) local: Option<SocketAddr>,
    pub(super) keep_case: bool,
    opened: Instant,
    requests: u32,
    pub(super) idle_for: Duration,
    pub(super) node: Arc<Node>,
    pub(super) slot: Slot,
    pub(super) pool: Weak<Pool>,
    _told: Told,
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
    /// Not a byte was sent: the connection had ended.
    Unsent(Box<Request<Upload>>),
}

impl From<TrySendError<Request<Upload>>> for Unanswered {
    fn from(mut error: TrySendError<Request<Upload>>) -> Self {
        match error.take_message() {
            Some(request) => Self::Unsent(Box::new(request)),
            None => Self::Sent(classify(error.into_error())),
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
        let meter = stream.meter();
        let buffer = pool.transport().connection.buffer;
        let (sender, driver) = http1::Builder::new()
            .max_header_size(MAX_HEAD)
            // A response's head must fit in.
            .max_buf_size(buffer.unwrap_or(BUFFER).max(MAX_HEAD))
            .preserve_header_case(to.keep_case)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(classify)?;
        Ok(Box::new(Self {
            sender,
            driver,
            ended: false,
            meter,
            local,
            keep_case: to.keep_case,
            opened: Instant::now(),
            requests: 0,
            idle_for: Duration::ZERO,
            node: to.node.clone(),
            slot,
            pool: pool.weak(),
            _told: to.told(),
        }))
    }

    /// Whose connection it is.
    pub(super) fn breaker(&self) -> &Arc<Breaker> {
        self.slot.breaker()
    }

    /// Whether the connection is open and ready for a request. Whatever the socket has is looked at, even
    /// if this task should give way to others by now: bytes that nobody asked for must not be taken for
    /// the next response.
    pub(super) fn is_ready(&mut self) -> bool {
        let idle = pin!(tokio::task::unconstrained(poll_fn(|cx| self.poll_read(cx))));
        let mut cx = Context::from_waker(Waker::noop());
        idle.poll(&mut cx).is_pending() && self.sender.is_ready()
    }

    /// Sends a request and reads the response's head. If this is dropped, the connection is closed.
    pub(super) async fn exchange(
        mut self: Box<Self>,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Box<Self>), Unanswered> {
        self.requests += 1;
        self.meter.reset();
        // Only the driver makes the answer ready, and it is polled first: so the answer needs no waker,
        // and must not give way to others, or it would be missed.
        let answer = self.sender.try_send_request(request);
        let mut answer = pin!(tokio::task::unconstrained(answer));
        let result = poll_fn(|cx| {
            let ended = self.poll_read(cx).is_ready();
            match answer
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(result) => Poll::Ready(result.map_err(Unanswered::from)),
                Poll::Pending if ended => {
                    Poll::Ready(Err(Unanswered::Sent(Error::Terminated(None))))
                }
                Poll::Pending if self.meter.bytes() > 2 * MAX_HEAD => {
                    Poll::Ready(Err(Unanswered::Sent(Error::Protocol(None))))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        match result {
            Ok(response) => Ok((response, self)),
            // A part of a head is no HTTP.
            Err(Unanswered::Sent(Error::Terminated(error))) if self.meter.bytes() > 0 => {
                Err(Unanswered::Sent(Error::Protocol(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads on, until the connection has ended. What the response's body gets must be looked at after
    /// each call.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ended {
            self.ended = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
        match self.ended {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Gives the connection a task of its own. The connection is closed when what is returned is
    /// dropped.
    pub(super) fn spawn(self: Box<Self>, upgrade: bool) -> (http1::SendRequest<Upload>, Driven) {
        let this = *self;
        let driver = this.driver;
        let task = tokio::spawn(async move {
            let _ = match upgrade {
                true => driver.with_upgrades().await,
                false => driver.await,
            };
        });
        let open = Open {
            _slot: this.slot,
            _told: this._told,
        };
        (
            this.sender,
            Driven {
                task,
                open: Some(open),
            },
        )
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
        if !worn && self.is_ready() {
            pool.put(self);
        }
    }

    /// Whether the connection is too old for another request.
    pub(super) fn is_expired(&self, max: Option<Duration>) -> bool {
        max.is_some_and(|max| self.opened.elapsed() >= max)
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

impl Driven {
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
