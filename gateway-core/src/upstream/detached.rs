//! An HTTP/1 connection that a separate task drives, so that the upload continues while the client reads the
//! response slowly or not at all.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::PollSender;

use super::Upload;
use super::http1::Http1;
use crate::body::BoxError;

type Item = Result<Frame<Bytes>, BoxError>;

/// Receiver of the response of a detached connection. Aborts the task when dropped.
pub(crate) struct DetachedConnection {
    frames: mpsc::Receiver<Item>,
    task: JoinHandle<()>,
    left: Option<u64>,
    ended: bool,
}

impl DetachedConnection {
    /// Drives `connection` until its response has ended; then the connection is closed.
    pub(super) fn spawn(mut connection: Box<Http1>, mut upload: Upload) -> Self {
        // The capacity is 1, so that the gateway does not read from the backend faster than the client reads.
        let (sender, frames) = mpsc::channel(1);
        let mut sender = PollSender::new(sender);
        let left = connection.left();
        let task = tokio::spawn(async move {
            poll_fn(|cx| {
                connection.poll_send(cx, &mut upload);
                poll_transfer(&mut connection, &mut sender, cx)
            })
            .await;
        });
        Self {
            frames,
            task,
            left,
            ended: false,
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let frame = ready!(self.frames.poll_recv(cx));
        match &frame {
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.left = self.left.map(|left| left.saturating_sub(len));
            }
            Some(Err(_)) | None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    /// Returns whether the response has ended.
    pub(super) fn is_received(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    /// Remaining length of the body in bytes, if known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}

impl Drop for DetachedConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards frames of the body. Ready when the body has ended or the receiver has been dropped.
fn poll_transfer(
    connection: &mut Http1,
    sender: &mut PollSender<Item>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        if ready!(sender.poll_reserve(cx)).is_err() {
            return Poll::Ready(());
        }
        let Some(item) = ready!(connection.poll_frame(cx)) else {
            return Poll::Ready(());
        };
        if sender.send_item(item).is_err() {
            return Poll::Ready(());
        }
    }
}
