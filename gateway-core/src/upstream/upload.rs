//! Upload of a request body to an endpoint.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame, SizeHint};

use super::ClientBodyError;
use super::replay::ReplayBody;
use crate::client_abort::ClientAbort;
use crate::policy::RejectedBody;
use crate::{Body, LocalReply};

/// Progress of an upload, shared by its sender and the task that waits for the response.
#[derive(Debug, Default)]
pub(crate) struct UploadProgress {
    state: AtomicU8,
    waiting: AtomicWaker,
    sending: AtomicWaker,
    /// The reply to the client if a policy has rejected the body or the client has disconnected. It is stored
    /// here, because over HTTP/2 hyper discards the error of a body.
    rejected: OnceLock<Box<LocalReply>>,
}

const RUNNING: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;
const STOPPED: u8 = 3;

impl UploadProgress {
    /// Returns whether the client's body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Returns whether the client's body ended in an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.load(Ordering::Acquire) == FAILED
    }

    /// The reply to the client if a policy has rejected the body or the client has disconnected.
    pub(crate) fn rejected(&self) -> Option<&LocalReply> {
        self.rejected.get().map(|reply| &**reply)
    }

    /// Like [`is_done`](Self::is_done), but wakes the task when the state changes.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> bool {
        if self.is_done() {
            return true;
        }
        self.waiting.register(cx.waker());
        self.is_done()
    }

    /// Marks the client's body as read to its end.
    pub(crate) fn finish(&self) {
        self.end(DONE);
    }

    /// Stops the upload. Must be called when the rest of the client's body is not needed.
    pub(crate) fn stop(&self) {
        self.end(STOPPED);
        self.sending.wake();
    }

    fn end(&self, state: u8) {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let changed = self
            .state
            .compare_exchange(RUNNING, state, order.0, order.1);
        if changed.is_ok() {
            self.waiting.wake();
        }
    }

    fn poll_stopped(&self, cx: &mut Context<'_>) -> bool {
        self.sending.register(cx.waker());
        self.state.load(Ordering::Acquire) == STOPPED
    }
}

/// Stops an upload when dropped, unless it has ended.
pub(crate) struct StopUpload(pub(crate) Option<Arc<UploadProgress>>);

impl Drop for StopUpload {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.stop();
        }
    }
}

/// Source of an upload.
#[derive(Debug)]
pub(crate) enum UploadSource {
    /// A body that is sent once.
    Once(Body),
    /// A body that is buffered for retries.
    Replay(ReplayBody),
}

/// A request body that tracks its progress, and marks its errors as caused by the client.
#[derive(Debug)]
pub(crate) struct Upload {
    source: UploadSource,
    progress: Option<Arc<UploadProgress>>,
}

impl Upload {
    /// Creates an upload. Its progress is tracked, unless the body is empty.
    pub(crate) fn track(source: UploadSource) -> Self {
        let mut this = Self {
            source,
            progress: None,
        };
        if !this.is_end_stream() {
            this.progress = Some(Arc::default());
        }
        this
    }

    /// Creates an upload without a body.
    pub(crate) fn empty() -> Self {
        Self {
            source: UploadSource::Once(Body::empty()),
            progress: None,
        }
    }

    /// Returns the body. Must be called before a frame has been sent.
    pub(crate) fn into_body(self) -> Body {
        match self.source {
            UploadSource::Once(body) => body,
            UploadSource::Replay(body) => Body::boxed(body),
        }
    }

    /// Progress of the upload. `None` if there is no body.
    pub(crate) fn progress(&self) -> Option<&Arc<UploadProgress>> {
        self.progress.as_ref()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let this = self.get_mut();
        if let Some(progress) = &this.progress
            && progress.poll_stopped(cx)
        {
            let error = "response has ended".into();
            return Poll::Ready(Some(Err(ClientBodyError(error))));
        }
        let frame = ready!(match &mut this.source {
            UploadSource::Once(body) => Pin::new(body).poll_frame(cx),
            UploadSource::Replay(body) => Pin::new(body).poll_frame(cx),
        });
        if let Some(progress) = &this.progress {
            match &frame {
                Some(Err(error)) => {
                    let rejected = RejectedBody::reply_in(&**error).cloned();
                    let left = || ClientAbort::of(&**error).map(ClientAbort::reply);
                    if let Some(reply) = rejected.or_else(left) {
                        let _ = progress.rejected.set(Box::new(reply));
                    }
                    progress.end(FAILED);
                }
                Some(Ok(frame)) if frame.is_data() && !this.is_end_stream() => {}
                Some(Ok(_)) | None => progress.finish(),
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(ClientBodyError)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            UploadSource::Once(body) => body.is_end_stream(),
            UploadSource::Replay(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            UploadSource::Once(body) => body.size_hint(),
            UploadSource::Replay(body) => body.size_hint(),
        }
    }
}
