//! HTTP on a connection of a known listener.
//!
//! ```text
//! bytes ──InstrumentedIo──> hyper's codec ──TrackedService──> Handler
//!               │                │                │
//!               └────────────────┴─── Activity ───┘<── Timers, Drain
//! ```
//!
//! One task drives one connection ([`serve_connection`]): it polls the codec, then the timers. ALPN or,
//! without ALPN, the first bytes of the connection select the codec. It is created when the first bytes
//! arrive. An HTTP/1 connection that becomes idle releases the codec with its buffers (`idle`). This module
//! adds what hyper lacks: timers, Envoy's responses to malformed requests, limits on requests and resets, and
//! the drain.
//!
//! Only the handler can determine whether a body is complete and why it stalls. The timers of this module are
//! a fallback: they end a connection only if the client certainly caused the delay.

mod activity;
mod chunk_scan;
mod codec_error;
mod control_frames;
#[doc(hidden)]
pub mod fuzzing;
mod http1;
mod http2;
mod idle;
mod instrumented_io;
mod request_framer;
mod resets;
mod service;
mod state;
pub(crate) mod stream_task;
#[cfg(test)]
pub(crate) mod tests;
mod time;
mod timers;
mod tiny_chunks;
pub mod upgrade;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::conn::{ConnInfo, ConnectionGuard, Drain};
use crate::http::settings::ListenerSettings;
use crate::observer::Observer;
use crate::pin_boxed::pin_boxed_with;
use crate::{Body, LocalReply};
use idle::{IdleConnection, WakeReason};

/// Handler of the requests of HTTP connections.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Resolves to the response. Cannot fail.
    type Future: Future<Output = Response<Body>> + Send + 'static;

    /// Handles one request.
    fn handle(&self, conn: &Arc<ConnInfo>, request: Request<Incoming>) -> Self::Future;

    /// Turns the codec's reply to a malformed or incomplete request into a response. As in Envoy, the gateway
    /// logs the request and applies late response edits. The connection is closed after the response, and
    /// framing fields of the response have no effect.
    ///
    /// `recorded`: whether [`handle`](Self::handle) has received the request and was cancelled. If so, the
    /// access log already contains the request. `age`: time since the first byte of the request head.
    fn handle_codec_reply(
        &self,
        conn: &Arc<ConnInfo>,
        reply: LocalReply,
        recorded: bool,
        age: Duration,
    ) -> Response<Bytes> {
        let _ = (conn, recorded, age);
        reply.into_response(false)
    }

    /// Records that the client closed the connection within a request head, `age` after its first byte.
    fn handle_incomplete_head(&self, conn: &Arc<ConnInfo>, age: Duration) {
        let _ = (conn, age);
    }
}

/// Extension of a response to an HTTP/1 client that has disconnected before its request was complete. The
/// connection is closed without the response, as in Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoResponse;

/// Parameters of an HTTP connection.
pub struct ConnectionContext<H> {
    /// Facts about the connection.
    pub info: Arc<ConnInfo>,
    /// Settings of the listener of the connection.
    pub settings: Arc<ListenerSettings>,
    /// Handler of the requests of the connection.
    pub handler: H,
    /// Receiver of errors and abuse events.
    pub observer: Arc<dyn Observer>,
    /// Signal to close the connection gracefully.
    pub drain: Drain,
    /// Counts the connection until it is closed.
    pub guard: ConnectionGuard,
    /// Whether the port expects PROXY headers. If not, a received PROXY header is reported.
    pub expects_proxy: bool,
}

/// Serves HTTP/1 or HTTP/2 on `io` on the current task; HTTP/2 adds a task for each stream. Returns when the
/// connection is closed, or has become a tunnel after an upgrade.
pub fn serve_connection<Io, H>(
    io: Io,
    context: ConnectionContext<H>,
) -> impl Future<Output = ()> + Send
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    // This function is not an `async fn`, because its future would store the arguments in addition to `idle`.
    let mut idle = IdleConnection::new(io, context);
    async move {
        // Codecs are boxed, so that the future of an idle connection reserves no memory for one.
        if idle.state.info.alpn() == Some(b"h2") {
            return Box::pin(http2::serve(idle)).await;
        }
        while poll_fn(|cx| idle.poll(cx)).await == WakeReason::Bytes {
            idle.check_proxy_header();
            if idle.is_http2() {
                return Box::pin(http2::serve(idle)).await;
            }
            match pin_boxed_with(|| http1::serve(idle)).await {
                Some(released) => idle = released,
                None => return,
            }
        }
        idle.close().await;
    }
}
