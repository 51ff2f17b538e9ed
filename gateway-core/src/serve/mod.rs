//! Serving HTTP on a connection whose listener is known.
//!
//! ```text
//! bytes ──Watched──> hyper's codec ──Answering──> Handler
//!            │            │              │
//!            └────────────┴─ Activity ───┘<── Timers, Drain
//! ```
//!
//! One task drives one connection ([`serve_connection`]): it polls the codec, then the timers. The
//! codec is chosen by ALPN, else by the first bytes, and made when they come; an HTTP/1 connection that
//! falls silent gives it back, with its buffers (`parked`). What hyper does not do is added around it: the
//! timers, Envoy's answers to what is no HTTP, limits on requests and resets, the drain.
//!
//! Of bodies, only the handler knows for certain whether they are complete, and why they wait. The
//! timers here are a net beneath its own: they end what can only be the client's fault.

mod activity;
mod codec_error;
mod http1;
mod http2;
mod mended;
mod parked;
mod service;
#[cfg(test)]
pub(crate) mod tests;
mod timers;
pub mod upgrade;
mod watched;

use std::future::{Future, poll_fn};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::conn::{ConnInfo, ConnectionGuard, Drain};
use crate::http::settings::ListenerSettings;
use crate::observer::Observer;
use crate::pin_boxed::pin_boxed_with;
use crate::{Body, LocalReply};
use parked::{Parked, Woken};

/// What answers the requests of connections.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Resolves to the answer; there always is one.
    type Future: Future<Output = Response<Body>> + Send + 'static;

    /// Answers one request.
    fn handle(&self, conn: &Arc<ConnInfo>, request: Request<Incoming>) -> Self::Future;

    /// Turns the codec's reply to a malformed or incomplete request into a response. As in Envoy, the
    /// gateway logs it and applies late response edits. `recorded`: [`handle`](Self::handle) has received
    /// the request and was cancelled, so the request is in the log already. Framing fields of the response
    /// have no effect, and the connection ends with it.
    fn handle_codec_reply(
        &self,
        conn: &Arc<ConnInfo>,
        reply: LocalReply,
        recorded: bool,
    ) -> Response<Bytes> {
        let _ = (conn, recorded);
        reply.into_response(false)
    }
}

/// Parameters of an HTTP connection.
pub struct ConnectionContext<H> {
    /// Facts about the connection.
    pub info: Arc<ConnInfo>,
    /// Settings of its listener.
    pub settings: Arc<ListenerSettings>,
    /// Handler of its requests.
    pub handler: H,
    /// Receiver of errors and abuse events.
    pub observer: Arc<dyn Observer>,
    /// Signal to close the connection gracefully.
    pub drain: Drain,
    /// Counts the connection until it is closed.
    pub guard: ConnectionGuard,
    /// Whether the port expects PROXY headers. If not, one is reported.
    pub expects_proxy: bool,
}

/// Serves HTTP/1 or HTTP/2 on `io` until it ends, on the current task (HTTP/2 adds a task for each
/// stream). Returns when the connection is closed, or handed to an upgrade.
pub fn serve_connection<Io, H>(
    io: Io,
    context: ConnectionContext<H>,
) -> impl Future<Output = ()> + Send
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    // As an `async fn` it would keep the room of its arguments for life, beside that of `parked`.
    let mut parked = Parked::new(io, context);
    async move {
        // Codecs are boxed, so that a connection that waits has no room for one.
        if parked.kept.info.alpn() == Some(b"h2") {
            return Box::pin(http2::serve(parked)).await;
        }
        while poll_fn(|cx| parked.poll(cx)).await == Woken::Spoken {
            parked.look();
            if parked.is_http2() {
                return Box::pin(http2::serve(parked)).await;
            }
            match pin_boxed_with(|| http1::serve(parked)).await {
                Some(silent) => parked = silent,
                None => return,
            }
        }
        parked.close().await;
    }
}
