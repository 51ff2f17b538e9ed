//! HTTP/2 on one connection: hyper's codec with the gateway's limits, timers and abuse detection.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Handler;
use super::activity::Activity;
use super::codec_error::CodecError;
use super::idle::{IdleConnection, PersistentState};
use super::instrumented_io::{HttpProtocol, InstrumentedIo};
use super::service::TrackedService;
use super::state::CloseCause;
use super::stream_task::{DropCause, StreamExecutor};
use super::timers::{ConnectionTimeouts, Expiry, Signal};
use crate::conn::ConnInfo;
use crate::http::settings::ListenerSettings;
use crate::observer::Event;

/// Maximum number of streams that a client has reset before the gateway accepted them (CVE-2023-44487).
const MAX_UNSEEN_RESETS: usize = 20;
/// Maximum number of streams that the gateway resets because of a client's protocol errors (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 128;
/// Default send buffer per stream, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// Maximum time for which a client may accept no data of a response. Used if `streamIdleTimeout` is disabled.
const STALLED: Duration = Duration::from_secs(300);
/// Default timeout of a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum window size (RFC 9113, section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Reason why the codec was stopped.
enum End {
    /// The codec completed or failed.
    Codec(Result<(), hyper::Error>),
    /// A time limit was reached.
    Expired(Expiry),
    /// The client abuses the protocol. The value names the kind of abuse.
    Abuse(&'static str),
}

/// Serves HTTP/2 until the connection is closed.
pub(super) async fn serve<Io, H>(idle: IdleConnection<Io, H>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let IdleConnection {
        io,
        received,
        handler,
        state,
        ..
    } = idle;
    let PersistentState {
        info,
        settings,
        observer,
        activity,
        mut timers,
        ..
    } = state;
    let service = TrackedService {
        handler: handler.clone(),
        info: info.clone(),
        activity: activity.clone(),
        http1: false,
    };
    let io = InstrumentedIo::new(io, received.freeze(), activity.clone(), HttpProtocol::Http2);
    let io = TokioIo::new(io);
    timers.set_timeouts(ConnectionTimeouts::http2(&settings));
    let mut connection = pin!(builder(&settings).serve_connection(io, service));
    let mut closing = false;

    let end = poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Codec(result));
            }
            let close_cause = activity.state().close_cause();
            match close_cause {
                Some(CloseCause::Abuse(how)) => {
                    // The next poll of the codec sends the GOAWAY frame.
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.as_mut().poll(cx);
                    return Poll::Ready(End::Abuse(how));
                }
                Some(CloseCause::LastResponse) if !closing => {
                    closing = true;
                    timers.set_closing();
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                Some(CloseCause::LastResponse) | None => {}
            }
            match ready!(timers.poll(cx)) {
                Signal::Drain | Signal::MaxDuration => activity.make_last(),
                Signal::ReleaseBuffers => {}
                Signal::Expired(Expiry::Idle) if !closing => activity.make_last(),
                Signal::Expired(expiry) => {
                    let Some(error) = head_error(expiry) else {
                        return Poll::Ready(End::Expired(expiry));
                    };
                    record(error, &handler, &info, &activity, &*observer);
                    // After an incomplete head, the codec cannot receive another head, but responses can
                    // still be sent.
                    activity.make_last();
                    if !activity.state().is_serving() {
                        // The next poll of the codec sends the GOAWAY frame.
                        connection.as_mut().graceful_shutdown();
                        let _ = connection.as_mut().poll(cx);
                        return Poll::Ready(End::Expired(expiry));
                    }
                }
            }
        }
    })
    .await;

    activity.on_closed(drop_cause(&end));
    report_end(&end, info.port, &*observer);
}

/// The reason why the requests in progress are dropped. `None`: the client has closed the connection.
fn drop_cause(end: &End) -> Option<DropCause> {
    match end {
        End::Codec(Err(error)) => is_client_error(error).then_some(DropCause::ConnectionError),
        End::Expired(Expiry::Write) => Some(DropCause::ClientIdle),
        End::Abuse(_) => Some(DropCause::ConnectionError),
        End::Codec(Ok(())) | End::Expired(_) => None,
    }
}

/// Whether the codec has ended the connection because of an error of the client.
fn is_client_error(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_library())
}

fn report_end(end: &End, port: u16, observer: &dyn crate::observer::Observer) {
    match end {
        End::Codec(Err(error)) => report(error, port, observer),
        End::Abuse(how) => observer.observe(&Event::Abuse(port, how)),
        End::Codec(Ok(())) | End::Expired(_) => {}
    }
}

fn builder(settings: &ListenerSettings) -> Builder<StreamExecutor> {
    let http2 = &settings.http2;
    let max_head = u32::try_from(settings.headers.max_request_head).unwrap_or(u32::MAX);
    let buffer = settings.limits.buffer.unwrap_or(SEND_BUFFER);
    let local_resets = match http2.end_on_invalid {
        true => 0,
        false => MAX_LOCAL_RESETS,
    };
    // hyper sends PINGs at this interval only while no frame is received.
    let interval = http2.draw_interval();
    let limit = settings.timeouts.stream_idle.unwrap_or(STALLED);
    let mut builder = Builder::new(StreamExecutor { limit });
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

/// The error of a request whose head was not complete in time. `None` if another time limit expired.
fn head_error(expiry: Expiry) -> Option<CodecError> {
    match expiry {
        Expiry::Head => Some(CodecError::HeadTimeout),
        Expiry::Request => Some(CodecError::RequestTimeout),
        Expiry::HeadIdle => Some(CodecError::HeadIdle),
        Expiry::FirstBytes
        | Expiry::Body
        | Expiry::HalfClosed
        | Expiry::Abandoned
        | Expiry::Idle
        | Expiry::Write
        | Expiry::Closing
        | Expiry::MaxDuration => None,
    }
}

/// Records a request whose head was not complete in time. The codec cannot respond to it.
fn record<H: Handler>(
    error: CodecError,
    handler: &H,
    info: &Arc<ConnInfo>,
    activity: &Activity,
    observer: &dyn crate::observer::Observer,
) {
    observer.observe(&Event::CodecError(info.port, error.details()));
    let age = activity.head_age();
    let _ = handler.handle_codec_reply(info, error.reply(), error.is_recorded(), age);
}

/// Reports abuse that the codec detected and protocol errors of the client. Other errors only end the
/// connection and are not reported.
fn report(error: &hyper::Error, port: u16, observer: &dyn crate::observer::Observer) {
    // The codec's error type is private, so its message is compared. The messages are those of RFC 9113,
    // section 7.
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
