//! An HTTP/2 connection, shared by the requests of a worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::connect::EndpointStream;
use super::failure::{SendFailure, classify};
use super::http1::restore;
use super::hyper_connection::classify_send_error;
use super::pool::ConnectTarget;
use super::{Transport, Upload, take_request};
use crate::balance::LiveEndpoint;
use crate::breaker::{CircuitBreaker, Slot};
use crate::error::Error;
use crate::plan::BackendConnection;

/// Maximum size in bytes of a response head.
const MAX_HEAD: u32 = 60 * 1024;
/// Maximum number of fields of a response head or of its trailers, as in Envoy.
pub(super) const MAX_FIELDS: usize = 100;
/// Maximum window size (RFC 9113, section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Default timeout for the acknowledgement of a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Upload>,
    streams: AtomicU32,
    max_streams: u32,
    requests: AtomicU32,
    opened: Instant,
    local: Option<SocketAddr>,
    endpoint: Arc<LiveEndpoint>,
    breaker: Arc<CircuitBreaker>,
    /// Time for which the connection has had no requests.
    pub(super) idle_for: std::sync::Mutex<Duration>,
}

/// One stream of a connection. Dropping it releases the stream.
pub(crate) struct Http2Stream(Arc<Http2>);

impl Http2 {
    /// Performs the handshake and spawns a task that drives the connection.
    pub(super) async fn handshake(
        stream: EndpointStream,
        slot: Slot,
        to: &ConnectTarget<'_>,
        transport: &Transport,
    ) -> Result<Arc<Self>, Error> {
        let (sender, driver) = builder(&transport.connection)
            .handshake(TokioIo::new(stream.io))
            .await
            .map_err(classify)?;
        let guards = (slot, to.close_notifier());
        tokio::spawn(async move {
            let _guards = guards;
            let _ = driver.await;
        });
        Ok(Arc::new(Self {
            sender,
            streams: AtomicU32::new(0),
            max_streams: transport.connection.http2.max_concurrent_streams,
            requests: AtomicU32::new(0),
            opened: Instant::now(),
            local: stream.local,
            endpoint: to.endpoint.clone(),
            breaker: to.breaker.clone(),
            idle_for: std::sync::Mutex::default(),
        }))
    }

    /// Returns whether the connection accepts new requests. A connection accepts no new requests if it has
    /// ended, has received GOAWAY, or has exceeded its maximum age or number of requests.
    pub(super) fn is_open(&self, transport: &Transport) -> bool {
        let max_requests = transport.max_requests_per_connection;
        let max_age = transport.max_connection_duration;
        !self.sender.is_closed()
            && !self.endpoint.is_removed()
            && max_requests.is_none_or(|max| self.requests.load(Ordering::Relaxed) < max)
            && max_age.is_none_or(|max| self.opened.elapsed() < max)
    }

    /// Reserves a stream, if the limit of concurrent streams is not reached.
    pub(super) fn open_stream(self: &Arc<Self>) -> Option<Http2Stream> {
        if self.streams.fetch_add(1, Ordering::Relaxed) >= self.max_streams {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(Http2Stream(self.clone()))
    }

    /// The breaker that counts the connection.
    pub(super) fn breaker(&self) -> &Arc<CircuitBreaker> {
        &self.breaker
    }

    /// Number of requests in flight.
    pub(super) fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }
}

/// Configures hyper. PINGs are sent only while no data is received. If `keepalive_interval` is set, they are
/// sent even while there are no requests. If only `keepalive_idle` is set, they are sent only while there are
/// requests.
fn builder(settings: &BackendConnection) -> http2::Builder<TokioExecutor> {
    let http2 = &settings.http2;
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
    if let Some(bytes) = settings.buffer {
        builder.max_send_buf_size(bytes.min(MAX_WINDOW as usize));
    }
    builder
}

impl Http2Stream {
    /// Local address of the connection.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// Sends a request and waits for the response head. Dropping the future resets the stream.
    pub(super) async fn exchange(
        &self,
        request: &mut Request<Upload>,
    ) -> Result<Response<Incoming>, SendFailure> {
        let mut sender = self.0.sender.clone();
        let response = sender.try_send_request(take_request(request)).await;
        let response = response.map_err(|error| {
            let (error, unsent) = classify_send_error(error);
            restore(request, unsent);
            error
        })?;
        if response.headers().len() > MAX_FIELDS {
            return Err(SendFailure::Sent(Error::RemoteReset(None)));
        }
        Ok(response)
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.breaker.wake();
    }
}
