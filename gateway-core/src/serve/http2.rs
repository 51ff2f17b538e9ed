//! HTTP/2 on one connection: hyper's codec with our limits, timers and watch for abuse.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Handler;
use super::parked::{Kept, Parked};
use super::service::Answering;
use super::timers::{Expiry, Limits, Signal};
use super::watched::{Spoken, Watched};
use crate::http::settings::ListenerSettings;
use crate::observer::Event;

/// Streams that a client may reset before we have seen them (CVE-2023-44487).
const MAX_UNSEEN_RESETS: usize = 20;
/// Streams that we may have to reset because of a client's mistakes (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 128;
/// Bytes buffered for sending per stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Time for the answer to a PING unless a policy says otherwise.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest window (RFC 9113, section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// How serving ended.
enum End {
    Codec(Result<(), hyper::Error>),
    Expired,
    Abused,
}

/// Serves HTTP/2 until the connection ends.
pub(crate) async fn serve<Io, H>(parked: Parked<Io, H>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let Parked {
        io,
        early,
        handler,
        kept,
        ..
    } = parked;
    let Kept {
        info,
        settings,
        observer,
        activity,
        mut timers,
        ..
    } = kept;
    let service = Answering {
        handler,
        info: info.clone(),
        activity: activity.clone(),
        http1: false,
    };
    let io = Watched::new(io, early.freeze(), activity.clone(), Spoken::Http2);
    let io = TokioIo::new(io);
    timers.set_limits(Limits::http2(&settings));
    let mut connection = pin!(builder(&settings).serve_connection(io, service));
    let mut closing = false;

    let end = poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Codec(result));
            }
            if activity.is_abused() {
                // One more poll sends the GOAWAY.
                connection.as_mut().graceful_shutdown();
                let _ = connection.as_mut().poll(cx);
                return Poll::Ready(End::Abused);
            }
            if !closing && activity.is_last() {
                closing = true;
                timers.note_closing();
                connection.as_mut().graceful_shutdown();
                continue;
            }
            match ready!(timers.poll(cx)) {
                Signal::Drain | Signal::Aged => activity.make_last(),
                Signal::Rest => {}
                Signal::Expired(Expiry::Idle) if !closing => activity.make_last(),
                Signal::Expired(_) => return Poll::Ready(End::Expired),
            }
        }
    })
    .await;

    match end {
        End::Codec(Err(error)) => report(&error, info.port, &*observer),
        End::Abused => observer.observe(&Event::Abuse(info.port, "premature_resets")),
        End::Codec(Ok(())) | End::Expired => {}
    }
}

fn builder(settings: &ListenerSettings) -> Builder<TokioExecutor> {
    let http2 = &settings.http2;
    let max_head = u32::try_from(settings.headers.max_request_head).unwrap_or(u32::MAX);
    let buffer = settings.limits.buffer.unwrap_or(SEND_BUFFER);
    let local_resets = match http2.end_on_invalid {
        true => 0,
        false => MAX_LOCAL_RESETS,
    };
    // PINGs go out while nothing is received.
    let interval = http2.draw_interval();
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(http2.max_concurrent_streams)
        .initial_stream_window_size(http2.stream_window.min(MAX_WINDOW))
        .initial_connection_window_size(http2.connection_window.min(MAX_WINDOW))
        .max_header_list_size(max_head)
        .max_send_buf_size(buffer.min(MAX_WINDOW as usize))
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(local_resets)
        .keep_alive_interval(interval.into_iter().chain(http2.keepalive_idle).min())
        .keep_alive_timeout(http2.keepalive_timeout.unwrap_or(PING_TIMEOUT));
    builder
}

/// Tells apart abuse that the codec noticed, mistakes of the client, and mere ends.
fn report(error: &hyper::Error, port: u16, observer: &dyn crate::observer::Observer) {
    // The codec's error type is not public; its texts are those of RFC 9113, section 7.
    let Some(cause) = error.source().filter(|_| !error.is_timeout()) else {
        return;
    };
    if cause.is::<std::io::Error>() {
        return;
    }
    let text = cause.to_string();
    if text.contains("excessive load") {
        observer.observe(&Event::Abuse(port, "enhance_your_calm"));
    } else if !text.contains("not a result of an error") {
        observer.observe(&Event::CodecError(port, "http2.protocol_error"));
    }
}
