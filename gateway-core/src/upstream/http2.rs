//! One HTTP/2 connection, shared by the requests of a worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::cased::unanswered;
use super::connect::Connected;
use super::failure::classify;
use super::http1::{Unanswered, put_back};
use super::pool::Target;
use super::{Transport, Upload, take};
use crate::balance::Node;
use crate::error::Error;
use crate::plan::BackendConnection;
use crate::traffic::breaker::{Breaker, Slot};

/// Bytes of a response's head.
const MAX_HEAD: u32 = 60 * 1024;
/// The largest window (RFC 9113, section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Time for the answer to a PING unless a policy says otherwise.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Upload>,
    streams: AtomicU32,
    max_streams: u32,
    requests: AtomicU32,
    opened: Instant,
    local: Option<SocketAddr>,
    node: Arc<Node>,
    breaker: Arc<Breaker>,
    /// For how long there was no request.
    pub(super) idle_for: std::sync::Mutex<Duration>,
}

/// One request's place on a connection, given back when dropped.
pub(crate) struct Stream(Arc<Http2>);

impl Http2 {
    /// Prepares a fresh stream of bytes and gives it a task.
    pub(super) async fn handshake(
        connected: Connected,
        slot: Slot,
        to: &Target<'_>,
        transport: &Transport,
    ) -> Result<Arc<Self>, Error> {
        let (sender, driver) = builder(&transport.connection)
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(classify)?;
        let kept = (slot, to.told());
        tokio::spawn(async move {
            let _kept = kept;
            let _ = driver.await;
        });
        Ok(Arc::new(Self {
            sender,
            streams: AtomicU32::new(0),
            max_streams: transport.connection.http2.max_concurrent_streams,
            requests: AtomicU32::new(0),
            opened: Instant::now(),
            local: connected.local,
            node: to.node.clone(),
            breaker: to.breaker.clone(),
            idle_for: std::sync::Mutex::default(),
        }))
    }

    /// Whether it takes new requests at all: not after GOAWAY, its end, its age, or its share.
    pub(super) fn is_open(&self, transport: &Transport) -> bool {
        let max_requests = transport.max_requests_per_connection;
        let max_age = transport.max_connection_duration;
        !self.sender.is_closed()
            && !self.node.is_gone()
            && max_requests.is_none_or(|max| self.requests.load(Ordering::Relaxed) < max)
            && max_age.is_none_or(|max| self.opened.elapsed() < max)
    }

    /// A place for one more request, if there is one.
    pub(super) fn open_stream(self: &Arc<Self>) -> Option<Stream> {
        if self.streams.fetch_add(1, Ordering::Relaxed) >= self.max_streams {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(Stream(self.clone()))
    }

    /// Whose connection it is.
    pub(super) fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// Requests under way.
    pub(super) fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }
}

/// A codec as the settings say. PINGs go out while nothing is received: `keepalive_interval` at any time,
/// `keepalive_idle` alone only once there is a request, so that it meets a connection that lives.
fn builder(how: &BackendConnection) -> http2::Builder<TokioExecutor> {
    let http2 = &how.http2;
    let interval = http2.draw_interval();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(http2.stream_window.min(MAX_WINDOW))
        .initial_connection_window_size(http2.connection_window.min(MAX_WINDOW))
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(interval.into_iter().chain(http2.keepalive_idle).min())
        .keep_alive_while_idle(interval.is_some())
        .keep_alive_timeout(http2.keepalive_timeout.unwrap_or(PING_TIMEOUT));
    if http2.end_on_invalid {
        builder.max_local_error_reset_streams(0);
    }
    if let Some(bytes) = how.buffer {
        builder.max_send_buf_size(bytes.min(MAX_WINDOW as usize));
    }
    builder
}

impl Stream {
    /// This side's address.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// Sends a request and waits for the response's head. If this is dropped, the stream is reset.
    pub(super) async fn exchange(
        &self,
        request: &mut Request<Upload>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut sender = self.0.sender.clone();
        let answer = sender.try_send_request(take(request)).await;
        answer.map_err(|error| {
            let (error, unsent) = unanswered(error);
            put_back(request, unsent);
            error
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.breaker.wake();
    }
}
