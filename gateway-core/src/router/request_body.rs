//! Request bodies that pass through the gateway. Their progress is recorded, and their trailers are filtered.
//!
//! Trailers are forwarded if the client uses HTTP/2 or the listener enables trailers for HTTP/1. They must pass
//! the same checks as the fields of the head; otherwise the request is rejected. Fields that are forbidden in
//! trailers are removed. HTTP/1 transfers only the trailers that `Trailer` announces (RFC
//! 9110, section 6.6.2).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::Body;
use crate::body::BoxError;
use crate::client_abort::{ClientAbort, ClientReset};
use crate::http::settings::Underscores;
use crate::http::{sanitize, trailers};
use crate::policy::RejectedBody;

/// Maximum number of bytes that are read from the rest of a request body. The rest is read so that the
/// connection can serve further requests.
const REST: usize = 64 * 1024;
/// Draining a body stops after the task has yielded this number of times without receiving a frame.
const TURNS: usize = 4;
/// Time for which the rest of an HTTP/2 request is read and discarded after the response.
const DISCARD: Duration = Duration::from_secs(1);

/// Progress of a request body.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    bytes: AtomicU64,
    /// Time of the last frame, in nanoseconds since `began`.
    last_frame: AtomicU64,
    complete: AtomicBool,
    /// Unread rest of a dropped body. It is stored until there is a response.
    rest: Mutex<Option<Body>>,
    unwanted: AtomicBool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            bytes: AtomicU64::default(),
            last_frame: AtomicU64::default(),
            complete: AtomicBool::default(),
            rest: Mutex::default(),
            unwanted: AtomicBool::default(),
        }
    }
}

impl Progress {
    /// Whether the body has been read to its end.
    pub(crate) fn complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Time at which the last frame was read. While the client sends and the backend receives, this time
    /// advances. Before the first frame, the time at which the request began.
    pub(crate) fn last_frame(&self) -> Instant {
        self.began + Duration::from_nanos(self.last_frame.load(Ordering::Relaxed))
    }

    /// Bytes read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Reads the part of a dropped body that has already been received, without waiting for more. If a small
    /// request is complete afterwards, its connection can be reused.
    pub(crate) async fn drain_body(self: &Arc<Self>) {
        let rest = self.rest.lock().ok().and_then(|mut rest| rest.take());
        let Some(body) = rest else { return };
        let mut body = RequestBody {
            body,
            progress: self.clone(),
            trailers: Trailers::Drop,
            underscores: Underscores::default(),
            http2: false,
        };
        let (mut read, mut turns) = (0, 0);
        while read <= REST && turns < TURNS && !self.complete() {
            tokio::select! {
                biased;
                frame = body.frame() => match frame {
                    Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) | None => break,
                },
                () = tokio::task::yield_now() => turns += 1,
            }
        }
    }

    /// Whether the unread rest of a dropped body ends in an error that the gateway has detected. Discards the
    /// part that has been received.
    pub(crate) fn is_malformed(&self) -> bool {
        let rest = self.rest.lock().ok().and_then(|mut rest| rest.take());
        let Some(mut body) = rest else { return false };
        loop {
            match body.frame().now_or_never() {
                Some(Some(Ok(_))) => {}
                Some(Some(Err(error))) => {
                    return ClientAbort::of(&*error) == Some(ClientAbort::Malformed);
                }
                Some(None) | None => return false,
            }
        }
    }

    /// Ends the request body, because there is a response. If `http2` is set, the rest of the body is read
    /// and discarded for at most [`DISCARD`]; otherwise the rest is dropped.
    pub(crate) fn end_body(&self, http2: bool) {
        self.unwanted.store(true, Ordering::Relaxed);
        let rest = self.rest.lock().ok().and_then(|mut rest| rest.take());
        if let Some(rest) = rest.filter(|_| http2) {
            discard(rest);
        }
    }

    fn note(&self, frame: Option<&Result<Frame<Bytes>, BoxError>>) {
        let at = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_frame.store(at, Ordering::Relaxed);
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            // A body has no frames after an error, so the rest is dropped.
            Some(Err(_)) => self.unwanted.store(true, Ordering::Relaxed),
            None => self.complete.store(true, Ordering::Relaxed),
        }
    }
}

/// Handling of trailers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trailers {
    /// Trailers are dropped.
    Drop,
    /// Trailers are forwarded without the fields that are forbidden in trailers.
    Pass,
}

impl Trailers {
    /// The frame to forward. `None` if the frame has trailers that are dropped.
    pub(super) fn filter(self, mut frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        if let Some(fields) = frame.trailers_mut() {
            if self == Self::Drop {
                return None;
            }
            trailers::strip(fields);
        }
        Some(frame)
    }
}

/// A request body that records its progress.
pub(crate) struct RequestBody {
    body: Body,
    progress: Arc<Progress>,
    trailers: Trailers,
    underscores: Underscores,
    /// Whether the body belongs to an HTTP/2 stream.
    http2: bool,
}

impl RequestBody {
    /// Wraps `body`, which must not have ended.
    pub(crate) fn new(body: Body, progress: Arc<Progress>, trailers: Trailers) -> Self {
        Self {
            body,
            progress,
            trailers,
            underscores: Underscores::default(),
            http2: false,
        }
    }

    /// Sets the handling of trailers whose name has an underscore.
    pub(crate) fn underscores(mut self, underscores: Underscores) -> Self {
        self.underscores = underscores;
        self
    }

    /// Makes every reset of an HTTP/2 stream an error, regardless of its code. If the code is NO_ERROR or
    /// CANCEL, hyper ends the body as if it were complete (RFC 9113, section 8.1).
    pub(crate) fn http2(mut self, http2: bool) -> Self {
        self.http2 = http2;
        self
    }

    /// Checks trailers that are forwarded as the fields of the head are checked.
    fn check_trailers(&self, frame: &mut Frame<Bytes>) -> Result<(), RejectedBody> {
        let version = match self.http2 {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        };
        match frame.trailers_mut() {
            Some(fields) if self.trailers == Trailers::Pass => {
                sanitize::trailers(fields, version, self.underscores).map_err(RejectedBody)
            }
            _ => Ok(()),
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            if self.http2 && frame.is_none() && !self.body.is_end_stream() {
                frame = Some(Err(ClientReset.into()));
            }
            self.progress.note(frame.as_ref());
            if self.body.is_end_stream() {
                self.progress.complete.store(true, Ordering::Relaxed);
            }
            match frame {
                Some(Ok(mut frame)) => {
                    if let Err(rejected) = self.check_trailers(&mut frame) {
                        return Poll::Ready(Some(Err(rejected.into())));
                    }
                    if let Some(frame) = self.trailers.filter(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    /// If there is no response yet, stores the unread rest for [`Progress::drain_body`]. If there is a
    /// response, reads and discards the rest of an HTTP/2 request.
    fn drop(&mut self) {
        if self.progress.complete() {
            return;
        }
        if !self.progress.unwanted.load(Ordering::Relaxed) {
            if let Ok(mut rest) = self.progress.rest.lock() {
                *rest = Some(std::mem::take(&mut self.body));
            }
        } else if self.http2 {
            discard(std::mem::take(&mut self.body));
        }
    }
}

/// Reads and discards the rest of an HTTP/2 request whose response is complete, within [`DISCARD`] and
/// [`REST`]. Dropping the body at once would reset the stream with `NO_ERROR` (RFC 9113, section 8.1).
/// Clients that are still sending, such as curl 7.88, would then fail although they have received the
/// response.
fn discard(mut body: Body) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let read = async move {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > REST || body.is_end_stream() {
                break;
            }
        }
    };
    runtime.spawn(tokio::time::timeout(DISCARD, read));
}
