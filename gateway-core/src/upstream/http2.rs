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
use crate::traffic::breaker::{Breaker, Slot};

/// Requests at the same time on one connection (Envoy Gateway: 100).
const MAX_STREAMS: u32 = 100;
/// Receive window of a stream, in bytes (Envoy Gateway: 64 KiB).
const STREAM_WINDOW: u32 = 64 * 1024;
/// Receive window of a connection, in bytes (Envoy Gateway: 1 MiB).
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response's head.
const MAX_HEAD: u32 = 60 * 1024;

/// A connection.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Upload>,
    streams: AtomicU32,
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
    ) -> Result<Arc<Self>, Error> {
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
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
        if self.streams.fetch_add(1, Ordering::Relaxed) >= MAX_STREAMS {
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
