//! HTTP/1 on one connection: hyper's codec, our timers and error answers.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Handler;
use super::activity::Activity;
use super::codec_error::{self, Reply};
use super::parked::{Kept, Parked};
use super::service::Answering;
use super::timers::{Expiry, Signal};
use super::watched::{Spoken, Watched};
use crate::http::settings::ListenerSettings;
use crate::observer::Event;

/// hyper's lower bound for its buffers.
const MIN_BUFFER: usize = 8 * 1024;
/// Bytes buffered in each direction unless a policy says otherwise.
const BUFFER: usize = 64 * 1024;
/// How long a closed connection is read on, so that the client gets our last answer and not a
/// reset. Envoy's delayed close takes as long.
const LINGER: Duration = Duration::from_secs(1);
/// How much is read in that time.
const LINGER_BYTES: usize = 256 * 1024;

/// How serving ended.
enum End {
    /// By the codec: nothing more is expected, or its error.
    Codec(Result<(), hyper::Error>),
    /// By us.
    Expired(Expiry),
    /// For now: nothing was said for a moment.
    Rest,
}

/// hyper's codec with what it works on.
type Connection<Io, H> = UpgradeableConnection<TokioIo<Watched<Io>>, Answering<H>>;

/// Serves HTTP/1 until the connection ends or is upgraded: `None`, or falls silent: then it is given back.
pub(crate) async fn serve<Io, H>(parked: Parked<Io, H>) -> Option<Parked<Io, H>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let Parked {
        io,
        early,
        handler,
        mut kept,
        ..
    } = parked;
    let mut connection = connect(io, early.freeze(), handler, &kept);
    let (end, was_idle) = run(&mut connection, &mut kept).await;

    // Who has said its last has read what we sent, or will not.
    let ended = matches!(end, End::Codec(Ok(())));
    if ended && (was_idle || kept.activity.has_ended()) {
        return None;
    }
    // Upgraded: the bytes are somebody else's now.
    let parts = connection.into_parts()?;
    let io = parts.io.into_inner().into_inner();
    if matches!(end, End::Rest) {
        kept.activity.forget_read(parts.read_buf.len());
        return Some(Parked {
            io,
            early: parts.read_buf.as_ref().into(),
            is_http1: true,
            handler: parts.service.handler,
            kept,
        });
    }
    let response = codec_reply(&end, &parts.read_buf, &parts.service.handler, &kept);
    if response.is_some() || ended {
        say_goodbye(io, response, &kept.activity).await;
    }
    None
}

fn connect<Io, H>(io: Io, early: Bytes, handler: H, kept: &Kept) -> Connection<Io, H>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let service = Answering {
        handler,
        info: kept.info.clone(),
        activity: kept.activity.clone(),
        http1: true,
    };
    let spoken = Spoken::Http1 {
        plain: kept.info.tls.is_none(),
    };
    let io = Watched::new(io, early, kept.activity.clone(), spoken);
    builder(&kept.settings)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
}

/// Lets the codec work until it ends or a timer has it end. Also says whether the connection was idle
/// when the codec was asked to end.
async fn run<Io, H>(connection: &mut Connection<Io, H>, kept: &mut Kept) -> (End, bool)
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
            let activity = &kept.activity;
            match std::task::ready!(kept.timers.poll(cx)) {
                Signal::Aged if !kept.settings.http1.close_at_max_duration => activity.make_last(),
                Signal::Drain | Signal::Aged => {
                    kept.timers.note_closing();
                    was_idle = activity.is_idle();
                    activity.make_last();
                    Pin::new(&mut *connection).graceful_shutdown();
                }
                Signal::Rest => {
                    if let Poll::Ready(result) = take_off(connection, activity, cx) {
                        return Poll::Ready(
                            result.map_or_else(|e| End::Codec(Err(e)), |()| End::Rest),
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

/// The response to a malformed or incomplete request, if there is one.
fn codec_reply<H: Handler>(
    end: &End,
    rest: &[u8],
    handler: &H,
    kept: &Kept,
) -> Option<Response<Bytes>> {
    let max_head = kept.settings.headers.max_request_head;
    let reply = find_reply(end, &kept.activity, rest, max_head)?;
    let response = handler.handle_codec_reply(&kept.info, reply.into(), reply.is_recorded());
    let event = Event::CodecError(kept.info.port, reply.details());
    kept.observer.observe(&event);
    Some(response)
}

/// Asks the codec to end while the stream below stays open. It ends at once if it is idle, as it should be.
/// If it is not (it still reads the body of a request that was answered early), it ends after that: then
/// the connection does, too, as in Envoy.
fn take_off<Io, H>(
    connection: &mut Connection<Io, H>,
    activity: &Activity,
    cx: &mut Context<'_>,
) -> Poll<Result<(), hyper::Error>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    activity.set_parting(true);
    Pin::new(&mut *connection).graceful_shutdown();
    let ended = Pin::new(connection).poll(cx);
    activity.set_parting(false);
    ended
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

/// What is to be said before the connection is closed.
fn find_reply(end: &End, activity: &Activity, rest: &[u8], max_head: usize) -> Option<Reply> {
    match (end, activity.withheld()) {
        (End::Codec(Err(error)), Some(status)) => Some(codec_error::reply(
            status,
            &error.to_string(),
            rest,
            max_head,
        )),
        (End::Expired(Expiry::Head), _) if activity.is_quiet() => Some(codec_error::HEAD_TIMEOUT),
        (End::Expired(Expiry::Request), _) if activity.is_quiet() => {
            Some(codec_error::REQUEST_TIMEOUT)
        }
        (End::Expired(Expiry::Body), _) if activity.is_quiet() => Some(codec_error::BODY_TIMEOUT),
        _ => None,
    }
}

/// Writes the last answer, if there is one, and reads on for a while.
async fn say_goodbye<Io>(mut io: Io, response: Option<Response<Bytes>>, activity: &Activity)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = async {
        if let Some(response) = response {
            io.write_all(&codec_error::to_bytes(response)).await?;
            io.shutdown().await?;
        }
        let mut sink = [0; 1024];
        let mut left = LINGER_BYTES;
        while !activity.has_ended() && left > 0 {
            match io.read(&mut sink).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever goes wrong here, the connection is over.
    let _ = tokio::time::timeout(LINGER, goodbye).await;
}
