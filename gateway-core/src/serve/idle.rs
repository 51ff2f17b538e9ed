//! A connection without a codec: before its first bytes, or after an idle period.
//!
//! Most connections of a gateway are idle most of the time. A codec holds buffers of tens of KiB even while
//! its connection is idle. Therefore the codec is created when bytes arrive and released after an idle period
//! ([`Signal::ReleaseBuffers`]). The stream, the timers and the connection's state persist. Time limits are
//! the same with and without a codec.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionContext;
use super::activity::Activity;
use super::timers::{ConnectionTimeouts, Signal, Timers};
use crate::conn::ConnInfo;
use crate::conn::preamble::{self, PREFACE};
use crate::http::settings::ListenerSettings;
use crate::observer::Observer;

/// Size of the first read after an idle period, in bytes. Most request heads fit; the codec reads the rest.
const FIRST_READ: usize = 2048;

/// A connection without a codec.
pub(super) struct IdleConnection<Io, H> {
    pub(super) io: Io,
    /// Received bytes, which the codec processes first.
    pub(super) received: BytesMut,
    /// Whether the protocol is known to be HTTP/1.
    pub(super) is_http1: bool,
    pub(super) handler: H,
    pub(super) state: PersistentState,
}

/// Parts of a connection that persist while it has no codec.
pub(super) struct PersistentState {
    pub(super) info: Arc<ConnInfo>,
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) activity: Arc<Activity>,
    pub(super) timers: Timers,
    expects_proxy: bool,
}

/// Reason why the wait for bytes ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WakeReason {
    /// Bytes for the codec have been received.
    Bytes,
    /// The connection must be closed.
    Close,
}

impl<Io, H> IdleConnection<Io, H> {
    /// A new connection.
    pub(super) fn new(io: Io, context: ConnectionContext<H>) -> Self {
        let ConnectionContext {
            info,
            settings,
            handler,
            observer,
            drain,
            guard,
            expects_proxy,
        } = context;
        let max_requests = settings.limits.max_requests;
        let activity = Arc::new(Activity::new(guard, drain.clone(), max_requests));
        let timeouts = ConnectionTimeouts::http1(&settings);
        Self {
            io,
            received: BytesMut::new(),
            is_http1: info.alpn().is_some_and(|alpn| alpn != b"h2"),
            handler,
            state: PersistentState {
                timers: Timers::new(activity.clone(), timeouts, &drain),
                info,
                settings,
                observer,
                activity,
                expects_proxy,
            },
        }
    }

    /// Whether the received bytes begin an HTTP/2 connection.
    pub(super) fn is_http2(&self) -> bool {
        !self.is_http1 && self.received.starts_with(PREFACE)
    }

    /// Reports a PROXY header in the first bytes if the port does not expect one.
    pub(super) fn check_proxy_header(&self) {
        let state = &self.state;
        if self.is_http1 || state.expects_proxy {
            return;
        }
        if let Some(version) = preamble::proxy_version(&self.received) {
            let (port, peer) = (state.info.port, state.info.tcp_peer);
            preamble::report_unexpected_proxy(&*state.observer, port, peer, version);
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin, H> IdleConnection<Io, H> {
    /// Waits until the received bytes identify the protocol, or the connection must be closed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<WakeReason> {
        loop {
            match self.poll_read(cx) {
                Poll::Pending => {}
                Poll::Ready(0) if self.received.is_empty() => {
                    return Poll::Ready(WakeReason::Close);
                }
                // The stream has ended. The codec is created anyway, to process the received bytes and the
                // end of the stream.
                Poll::Ready(0) => return Poll::Ready(WakeReason::Bytes),
                Poll::Ready(_) if self.is_protocol_known() => {
                    return Poll::Ready(WakeReason::Bytes);
                }
                Poll::Ready(_) => {
                    self.state.activity.on_unidentified();
                    continue;
                }
            }
            let state = &mut self.state;
            match ready!(state.timers.poll(cx)) {
                Signal::MaxDuration if !state.settings.http1.close_at_max_duration => {
                    state.activity.make_last();
                }
                Signal::ReleaseBuffers => {}
                Signal::Drain | Signal::MaxDuration | Signal::Expired(_) => {
                    return Poll::Ready(self.on_expiry());
                }
            }
        }
    }

    fn is_protocol_known(&self) -> bool {
        self.is_http1 || preamble::identifies_protocol(&self.received)
    }

    /// Reads once and returns the number of bytes: 0 at the end of the stream or after an error.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut buffer = [MaybeUninit::uninit(); FIRST_READ];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
        if result.is_ok() {
            self.received.extend_from_slice(buffer.filled());
        }
        Poll::Ready(buffer.filled().len())
    }

    /// The reaction to an expired time limit. If the client has begun its first request, the codec is
    /// created, so that the client receives a response.
    fn on_expiry(&self) -> WakeReason {
        if self.is_http1 || self.received.is_empty() {
            WakeReason::Close
        } else {
            WakeReason::Bytes
        }
    }

    /// Closes the connection. A TLS connection sends close_notify, if it can be written without waiting.
    pub(super) async fn close(mut self) {
        if self.state.info.tls.is_some() {
            let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.io).poll_shutdown(cx))).await;
        }
    }
}
