//! HTTP/1 on one connection: hyper's codec with the gateway's timers and error responses.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Response;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Handler;
use super::activity::Activity;
use super::codec_error::{self, CodecError};
use super::idle::{IdleConnection, PersistentState};
use super::instrumented_io::{HttpProtocol, InstrumentedIo};
use super::service::TrackedService;
use super::stream_task::{DropCause, drop_because};
use super::timers::{Expiry, Signal};
use crate::http::settings::ListenerSettings;
use crate::observer::Event;

/// Minimum buffer size of hyper, in bytes.
const MIN_BUFFER: usize = 8 * 1024;
/// Default buffer size per direction, in bytes.
const BUFFER: usize = 64 * 1024;
/// Time for which a connection is still read after its last response. Closing a socket with unread data would
/// reset the connection, and the client could lose the response. This is the equivalent of Envoy's delayed
/// close.
const LINGER: Duration = Duration::from_secs(1);
/// Maximum number of bytes read during [`LINGER`].
const LINGER_BYTES: usize = 256 * 1024;

/// Reason why the codec was stopped.
enum End {
    /// The codec completed or failed.
    Codec(Result<(), hyper::Error>),
    /// A time limit was reached.
    Expired(Expiry),
    /// The connection is idle, and the codec was released.
    Released,
}

/// The codec of hyper with the stream and the service of the connection.
type Connection<Io, H> = UpgradeableConnection<TokioIo<InstrumentedIo<Io>>, TrackedService<H>>;

/// Serves HTTP/1. Returns the connection once it is idle; `None` if it was closed or upgraded.
pub(super) async fn serve<Io, H>(idle: IdleConnection<Io, H>) -> Option<IdleConnection<Io, H>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let IdleConnection {
        io,
        received,
        handler,
        mut state,
        ..
    } = idle;
    let mut connection = create_codec(io, received.freeze(), handler.clone(), &state);
    let (end, was_idle) = run(&mut connection, &mut state).await;

    let parts = match end {
        End::Expired(Expiry::Write) => drop_because(DropCause::ClientIdle, || {
            into_parts(connection, &state.activity)
        }),
        _ => into_parts(connection, &state.activity),
    };
    let (mut io, unread, is_upgraded) = parts?;
    let completed = matches!(end, End::Codec(Ok(())));
    if completed && is_upgraded {
        // After an upgrade, the codec has not shut down the stream, so it is shut down here. Errors are
        // ignored, because the connection has ended.
        let _ = tokio::time::timeout(LINGER, io.shutdown()).await;
    }
    // A lingering close is not necessary for a client that was idle or has closed its side, because such a
    // client sends no bytes that could cause a reset.
    if completed && was_idle {
        return None;
    }
    if io.has_tiny_chunk_flood() {
        let event = Event::Abuse(state.info.port, "tiny_chunks");
        state.observer.observe(&event);
    }
    let closed = matches!(end, End::Codec(_)) && state.activity.is_client_closed();
    let within_head = io.is_within_head() || state.activity.is_reading_head();
    let unread = match state.activity.withheld() {
        Some(_) => complete_line(&mut io, unread).await,
        None => unread,
    };
    let error = find_error(&end, within_head, &unread, &state);
    if closed && within_head && error.is_none() {
        let age = state.activity.head_age();
        handler.handle_incomplete_head(&state.info, age);
    }
    if completed && closed {
        return None;
    }
    let (io, kept) = io.into_parts();
    if matches!(end, End::Released) {
        state.activity.state().on_unread(unread.len() as u64);
        return Some(IdleConnection {
            io,
            received: [&unread[..], &kept].concat().as_slice().into(),
            is_http1: true,
            handler,
            state,
        });
    }
    let response = error.map(|error| codec_reply(error, &handler, &state));
    if response.is_some() || completed {
        linger_close(io, response, &state.activity).await;
    }
    None
}

/// Takes a codec that has ended apart. Returns the stream, the bytes that the codec has not read, and whether
/// the codec has completed an upgrade. `None` if the stream belongs to a tunnel.
fn into_parts<Io, H>(
    connection: Connection<Io, H>,
    activity: &Activity,
) -> Option<(InstrumentedIo<Io>, Bytes, bool)>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    if let Some(parts) = connection.into_parts() {
        return Some((parts.io.into_inner(), parts.read_buf, false));
    }
    // hyper completes every upgrade when it ends, even one that the response has refused.
    let upgraded = activity.take_pending_upgrade()?.now_or_never()?.ok()?;
    let parts = upgraded.downcast::<TokioIo<InstrumentedIo<Io>>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf, true))
}

fn create_codec<Io, H>(
    io: Io,
    received: Bytes,
    handler: H,
    state: &PersistentState,
) -> Connection<Io, H>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let service = TrackedService {
        handler,
        info: state.info.clone(),
        activity: state.activity.clone(),
        http1: true,
    };
    let protocol = HttpProtocol::Http1 {
        plain: state.info.tls.is_none(),
    };
    let io = InstrumentedIo::new(io, received, state.activity.clone(), protocol);
    builder(&state.settings)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
}

/// Drives the codec until it completes or a timer stops it. Also returns whether the connection was idle
/// when its shutdown began.
async fn run<Io, H>(connection: &mut Connection<Io, H>, state: &mut PersistentState) -> (End, bool)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let mut was_idle = false;
    let end = poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(End::Codec(result));
            }
            let activity = &state.activity;
            match std::task::ready!(state.timers.poll(cx)) {
                Signal::MaxDuration if !state.settings.http1.close_at_max_duration => {
                    activity.make_last();
                }
                Signal::Drain | Signal::MaxDuration => {
                    state.timers.set_closing();
                    was_idle = activity.is_idle();
                    activity.make_last();
                    Pin::new(&mut *connection).graceful_shutdown();
                }
                Signal::ReleaseBuffers => {
                    if let Poll::Ready(result) = release_codec(connection, activity, cx) {
                        return Poll::Ready(
                            result.map_or_else(|e| End::Codec(Err(e)), |()| End::Released),
                        );
                    }
                }
                Signal::Expired(expiry) => return Poll::Ready(End::Expired(expiry)),
            }
        }
    })
    .await;
    (end, was_idle)
}

/// The response to a malformed or incomplete request.
fn codec_reply<H: Handler>(
    error: CodecError,
    handler: &H,
    state: &PersistentState,
) -> Response<Bytes> {
    let event = Event::CodecError(state.info.port, error.details());
    state.observer.observe(&event);
    let age = state.activity.head_age();
    handler.handle_codec_reply(&state.info, error.reply(), error.is_recorded(), age)
}

/// Shuts the codec down while the stream stays open. An idle codec completes at once. If the gateway
/// responded to a request before its body was complete, the codec first reads the rest of the body; then it
/// completes and the connection is closed, as in Envoy.
fn release_codec<Io, H>(
    connection: &mut Connection<Io, H>,
    activity: &Activity,
    cx: &mut Context<'_>,
) -> Poll<Result<(), hyper::Error>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    activity.state().begin_release();
    Pin::new(&mut *connection).graceful_shutdown();
    let completed = Pin::new(connection).poll(cx);
    activity.state().end_release();
    completed
}

fn builder(settings: &ListenerSettings) -> Builder {
    let mut builder = Builder::new();
    let max_head = settings.headers.max_request_head;
    let buffer = settings.limits.buffer.unwrap_or(BUFFER);
    builder
        .max_header_size(max_head)
        .max_buf_size(buffer.max(max_head).max(MIN_BUFFER))
        .header_read_timeout(None)
        .preserve_header_case(settings.http1.preserve_header_case)
        .half_close(false);
    builder
}

/// The error that the client receives before the connection is closed, if any. `within_head`: the last received
/// bytes are part of an incomplete head.
fn find_error(
    end: &End,
    within_head: bool,
    unread: &[u8],
    state: &PersistentState,
) -> Option<CodecError> {
    let activity = &state.activity;
    let max_head = state.settings.headers.max_request_head;
    let timeout = match (end, activity.withheld()) {
        (End::Codec(Err(error)), Some(status)) => {
            let error = error.to_string();
            return Some(codec_error::classify(status, &error, unread, max_head));
        }
        (End::Codec(Err(_)), None) if activity.is_client_closed() => None,
        (End::Expired(Expiry::Head), _) => Some(CodecError::HeadTimeout),
        (End::Expired(Expiry::Request), _) => Some(CodecError::RequestTimeout),
        (End::Expired(Expiry::HeadIdle), _) => Some(CodecError::HeadIdle),
        (End::Expired(Expiry::Body), _) => Some(CodecError::BodyIdle),
        _ => return None,
    };
    if !activity.is_output_flushed() {
        return None;
    }
    let invalid = within_head.then(|| codec_error::of_incomplete_head(unread, max_head));
    invalid.flatten().or(timeout)
}

/// Reads the rest of a request line with an invalid HTTP version. hyper rejects the first invalid byte, but
/// the response depends on the whole line.
async fn complete_line<Io: AsyncRead + Unpin>(io: &mut Io, unread: Bytes) -> Bytes {
    if !codec_error::is_undecided(&unread) {
        return unread;
    }
    let mut line = unread.to_vec();
    let read = async {
        while codec_error::is_undecided(&line) && line.len() < MIN_BUFFER {
            line.push(io.read_u8().await?);
        }
        std::io::Result::Ok(())
    };
    // The result is ignored: after an error or timeout, the incomplete line is used.
    let _ = tokio::time::timeout(LINGER, read).await;
    line.into()
}

/// Writes the last response, if any, then reads and discards bytes for up to [`LINGER`].
async fn linger_close<Io>(mut io: Io, response: Option<Response<Bytes>>, activity: &Activity)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let close = async {
        if let Some(response) = response {
            io.write_all(&codec_error::to_bytes(response)).await?;
            io.shutdown().await?;
        }
        let mut sink = [0; 1024];
        let mut remaining = LINGER_BYTES;
        while !activity.is_client_closed() && remaining > 0 {
            match io.read(&mut sink).await? {
                0 => break,
                n => remaining = remaining.saturating_sub(n),
            }
        }
        std::io::Result::Ok(())
    };
    // Errors and timeouts are ignored: the connection is closed in any case.
    let _ = tokio::time::timeout(LINGER, close).await;
}
