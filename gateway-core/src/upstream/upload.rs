//! The request's body on its way to an endpoint.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};

use super::ClientBody;
use crate::Body;
use crate::traffic::ReplayBody;

/// How far the upload has come: whether all of the client's body was read.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicBool,
    waker: AtomicWaker,
}

impl Progress {
    /// Whether all of the client's body was read.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// As [`is_done`](Self::is_done); if it is not, the task is woken when it is.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> bool {
        if self.is_done() {
            return true;
        }
        self.waker.register(cx.waker());
        self.is_done()
    }

    pub(crate) fn finish(&self) {
        if !self.done.swap(true, Ordering::Release) {
            self.waker.wake();
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
        let frame = ready!(match &mut this.source {
            Source::Once(body) => Pin::new(body).poll_frame(cx),
            Source::Replay(body) => Pin::new(body).poll_frame(cx),
        });
        let ended = match &frame {
            None => true,
            Some(Ok(frame)) => frame.is_trailers() || this.is_end_stream(),
            Some(Err(_)) => false,
        };
        if ended && let Some(progress) = &this.progress {
            progress.finish();
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
