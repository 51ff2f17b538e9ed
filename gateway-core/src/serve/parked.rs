//! A connection without a codec: one that has said nothing yet, or nothing for a while.
//!
//! Most connections of a gateway wait most of the time. A codec keeps buffers of tens of KiB even then, so
//! it is only made when there are bytes for it, and taken away after a moment of silence
//! ([`Signal::Rest`]). What lasts is here: the stream, the timers, and what was noted. Each limit of time
//! means the same with and without a codec.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionContext;
use super::activity::Activity;
use super::timers::{Limits, Signal, Timers};
use crate::conn::ConnInfo;
use crate::conn::preamble::{self, PREFACE};
use crate::http::settings::ListenerSettings;
use crate::observer::Observer;

/// Room for the bytes that end the waiting: most heads, as the codec reads what is left.
const FIRST_READ: usize = 2048;

/// A connection that waits for the client.
pub(crate) struct Parked<Io, H> {
    pub(crate) io: Io,
    /// Read already, and to be given to the codec first.
    pub(crate) early: BytesMut,
    /// HTTP/1 is spoken for certain.
    pub(crate) is_http1: bool,
    pub(crate) handler: H,
    pub(crate) kept: Kept,
}

/// What lasts as long as the connection, besides its bytes.
pub(crate) struct Kept {
    pub(crate) info: Arc<ConnInfo>,
    pub(crate) settings: Arc<ListenerSettings>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) timers: Timers,
    expects_proxy: bool,
}

/// How the waiting ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Woken {
    /// There are bytes for the codec.
    Spoken,
    /// The connection is over.
    Over,
}

impl<Io, H> Parked<Io, H> {
    /// A connection that has said nothing yet.
    pub(crate) fn new(io: Io, context: ConnectionContext<H>) -> Self {
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
        Self {
            io,
            early: BytesMut::new(),
            is_http1: info.alpn().is_some_and(|alpn| alpn != b"h2"),
            handler,
            kept: Kept {
                timers: Timers::new(activity.clone(), Limits::http1(&settings), &drain),
                info,
                settings,
                observer,
                activity,
                expects_proxy,
            },
        }
    }

    /// Whether the bytes that came begin HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        !self.is_http1 && self.early.starts_with(PREFACE)
    }

    /// Looks at the first bytes of a connection for those that a load balancer should not have sent.
    pub(crate) fn look(&self) {
        let kept = &self.kept;
        if self.is_http1 || kept.expects_proxy {
            return;
        }
        if let Some(version) = preamble::proxy_version(&self.early) {
            let (port, peer) = (kept.info.port, kept.info.tcp_peer);
            preamble::report_unexpected_proxy(&*kept.observer, port, peer, version);
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin, H> Parked<Io, H> {
    /// Waits until there are bytes that tell what is spoken, or the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        loop {
            match self.poll_read(cx) {
                Poll::Pending => {}
                // With something to read the codec finds out by itself what its end means.
                Poll::Ready(0) if self.early.is_empty() => return Poll::Ready(Woken::Over),
                Poll::Ready(0) => return Poll::Ready(Woken::Spoken),
                Poll::Ready(_) if self.is_http1 || preamble::identifies_protocol(&self.early) => {
                    return Poll::Ready(Woken::Spoken);
                }
                Poll::Ready(_) => continue,
            }
            let kept = &mut self.kept;
            match std::task::ready!(kept.timers.poll(cx)) {
                Signal::Aged if !kept.settings.http1.close_at_max_duration => {
                    kept.activity.make_last();
                }
                Signal::Rest => {}
                Signal::Drain | Signal::Aged | Signal::Expired(_) => {
                    return Poll::Ready(self.end());
                }
            }
        }
    }

    /// Bytes that came; 0: no more will.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut room = [MaybeUninit::uninit(); FIRST_READ];
        let mut buf = ReadBuf::uninit(&mut room);
        let result = std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf));
        if result.is_ok() {
            self.early.extend_from_slice(buf.filled());
        }
        Poll::Ready(buf.filled().len())
    }

    /// No more is waited for: who has begun to say something gets an answer.
    fn end(&self) -> Woken {
        if self.is_http1 || self.early.is_empty() {
            Woken::Over
        } else {
            Woken::Spoken
        }
    }

    /// Says goodbye, as far as the client takes it at once: with TLS there is something to say.
    pub(crate) async fn close(mut self) {
        if self.kept.info.tls.is_some() {
            let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.io).poll_shutdown(cx))).await;
        }
    }
}
