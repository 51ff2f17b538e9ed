//! Serving HTTP on a connection whose listener is known.
//!
//! ```text
//! bytes ──Watched──> hyper's codec ──Answering──> Handler
//!            │            │              │
//!            └────────────┴─ Activity ───┘<── Timers, Drain
//! ```
//!
//! One task drives one connection ([`serve_connection`]): it polls the codec, then the timers. The
//! codec is chosen by ALPN, else by the first bytes. What hyper does not do is added around it: the
//! timers, Envoy's answers to what is no HTTP, limits on requests and resets, the drain.
//!
//! Of bodies, only the handler knows for certain whether they are complete, and why they wait. The
//! timers here are a net beneath its own: they end what can only be the client's fault.

mod activity;
mod codec_error;
mod http1;
mod http2;
mod mended;
mod service;
#[cfg(test)]
mod tests;
mod timers;
pub mod upgrade;
mod watched;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::Body;
use crate::conn::drain::Drain;
use crate::conn::opening::{Opening, read_opening};
use crate::conn::{ConnInfo, Open, warn_unexpected_proxy};
use crate::observer::{Event, Observer};
use crate::plan::ListenerSettings;

pub use codec_error::Refusal;

/// What answers the requests of connections.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Resolves to the answer; there always is one.
    type Future: Future<Output = Response<Body>> + Send + 'static;

    /// Answers one request.
    fn handle(&self, conn: &Arc<ConnInfo>, request: Request<Incoming>) -> Self::Future;

    /// Is shown the answer to bytes that are no request, or no whole one in time; may log it and
    /// edit its headers. Envoy logs these, and applies late response edits to them.
    fn refuse(&self, conn: &Arc<ConnInfo>, refusal: &mut Refusal) {
        let _ = (conn, refusal);
    }
}

/// What a connection is served with.
pub struct Session<H> {
    /// What is known of the connection.
    pub info: Arc<ConnInfo>,
    /// The settings of its listener.
    pub settings: Arc<ListenerSettings>,
    /// Answers its requests.
    pub handler: H,
    /// Is told of errors and abuse.
    pub observer: Arc<dyn Observer>,
    /// Ends it.
    pub drain: Drain,
    /// Counts it for as long as it lives.
    pub open: Open,
    /// The port expects PROXY headers, so that one more is no surprise.
    pub proxy_expected: bool,
}

impl<H> Session<H> {
    /// How long to wait for the first bytes.
    fn patience(&self) -> Option<std::time::Duration> {
        timers::Limits::new(&self.settings, 1).first_byte
    }
}

/// Serves HTTP/1 or HTTP/2 on `io` until it ends, on the current task (HTTP/2 adds a task for each
/// stream). Returns when the connection is closed, or handed to an upgrade.
pub async fn serve_connection<Io, H>(mut io: Io, session: Session<H>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let alpn = session
        .info
        .tls
        .as_ref()
        .and_then(|tls| tls.alpn.as_deref());
    match alpn {
        Some(b"h2") => return Box::pin(http2::serve(io, session)).await,
        Some(_) => return Box::pin(http1::serve(io, session)).await,
        None => {}
    }
    // The codecs are boxed, so that a connection has room for one of them only.
    let mut opening = Opening::default();
    let deadline = session.patience().map(|limit| Instant::now() + limit);
    let read = read_opening(&mut io, &mut opening, true);
    tokio::select! {
        _ = read => {}
        () = session.drain.overdue() => {}
        () = crate::conn::sleep_until(deadline) => {}
    }
    if opening.as_slice().is_empty() {
        return;
    }
    if let Some(version) = opening.proxy_version().filter(|_| !session.proxy_expected) {
        let info = &session.info;
        session
            .observer
            .observe(&Event::UnexpectedProxyHeader(info.port, info.tcp_peer));
        warn_unexpected_proxy(info.port, info.tcp_peer, version);
    }
    let io = opening.put_back(io);
    if opening.is_http2() {
        Box::pin(http2::serve(io, session)).await;
    } else {
        Box::pin(http1::serve(io, session)).await;
    }
}
