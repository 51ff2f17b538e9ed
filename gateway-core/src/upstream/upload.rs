//! The request's body on its way to an endpoint.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};

use super::ClientBody;
use crate::Body;
use crate::traffic::ReplayBody;

/// How far the upload has come, known to both who sends it and who waits for the response.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: AtomicU8,
    waiting: AtomicWaker,
    sending: AtomicWaker,
}

const GOING: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;
const STOPPED: u8 = 3;

impl Progress {
    /// Whether all of the client's body was read.
    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Whether the client's body ended in an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.load(Ordering::Acquire) == FAILED
    }

    /// As [`is_done`](Self::is_done); if it is not, the task is woken when it is.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> bool {
        if self.is_done() {
            return true;
        }
        self.waiting.register(cx.waker());
        self.is_done()
    }

    /// All of the client's body was read.
    pub(crate) fn finish(&self) {
        self.end(DONE);
    }

    /// Nobody wants the rest of the client's body.
    pub(crate) fn stop(&self) {
        self.end(STOPPED);
        self.sending.wake();
    }

    fn end(&self, state: u8) {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let ended = self.state.compare_exchange(GOING, state, order.0, order.1);
        if ended.is_ok() {
            self.waiting.wake();
        }
    }

    fn poll_stopped(&self, cx: &mut Context<'_>) -> bool {
        self.sending.register(cx.waker());
        self.state.load(Ordering::Acquire) == STOPPED
    }
}

/// Stops an upload when dropped, unless it has ended.
pub(crate) struct StopUpload(pub(crate) Option<Arc<Progress>>);

impl Drop for StopUpload {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.stop();
        }
    }
}

/// Where the bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Sent once.
    Once(Body),
    /// Kept for another try.
    Replay(ReplayBody),
}

/// A request's body that tells when it has ended, and marks its errors as the client's.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Source,
    progress: Option<Arc<Progress>>,
}

impl Upload {
    /// A body whose progress can be asked for, if there is one.
    pub(crate) fn track(source: Source) -> Self {
        let mut this = Self {
            source,
            progress: None,
        };
        if !this.is_end_stream() {
            this.progress = Some(Arc::default());
        }
        this
    }

    /// One that has ended.
    pub(crate) fn empty() -> Self {
        Self {
            source: Source::Once(Body::empty()),
            progress: None,
        }
    }

    /// The body, if nothing was sent of it.
    pub(crate) fn into_body(self) -> Body {
        match self.source {
            Source::Once(body) => body,
            Source::Replay(body) => Body::boxed(body),
        }
    }

    /// How far it has come; `None` if there is no body.
    pub(crate) fn progress(&self) -> Option<&Arc<Progress>> {
        self.progress.as_ref()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = ClientBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBody>>> {
        let this = self.get_mut();
        if let Some(progress) = &this.progress
            && progress.poll_stopped(cx)
        {
            let error = "the response has ended".into();
            return Poll::Ready(Some(Err(ClientBody(error))));
        }
        let frame = ready!(match &mut this.source {
            Source::Once(body) => Pin::new(body).poll_frame(cx),
            Source::Replay(body) => Pin::new(body).poll_frame(cx),
        });
        if let Some(progress) = &this.progress {
            match &frame {
                Some(Err(_)) => progress.end(FAILED),
                Some(Ok(frame)) if frame.is_data() && !this.is_end_stream() => {}
                Some(Ok(_)) | None => progress.finish(),
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(ClientBody)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Once(body) => body.is_end_stream(),
            Source::Replay(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Once(body) => body.size_hint(),
            Source::Replay(body) => body.size_hint(),
        }
    }
}
