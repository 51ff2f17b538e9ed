//! A connection with a task of its own: it goes on sending while the response is read slowly, or not at
//! all.

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

/// The response's side of such a connection. The task ends with this.
pub(crate) struct Relay {
    frames: mpsc::Receiver<Item>,
    task: JoinHandle<()>,
    left: Option<u64>,
    over: bool,
}

impl Relay {
    /// Drives `connection` until its response is over; then it is closed.
    pub(super) fn spawn(mut connection: Box<Http1>, mut upload: Upload) -> Self {
        // One part waits for the client, so that the backend is not read faster than it.
        let (sender, frames) = mpsc::channel(1);
        let mut sender = PollSender::new(sender);
        let left = connection.left();
        let task = tokio::spawn(async move {
            poll_fn(|cx| {
                connection.poll_send(cx, &mut upload);
                poll_relay(&mut connection, &mut sender, cx)
            })
            .await;
        });
        Self {
            frames,
            task,
            left,
            over: false,
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let frame = ready!(self.frames.poll_recv(cx));
        match &frame {
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.left = self.left.map(|left| left.saturating_sub(len));
            }
            Some(Err(_)) | None => self.over = true,
        }
        Poll::Ready(frame)
    }

    /// Whether the response is over.
    pub(super) fn is_received(&self) -> bool {
        self.over || self.left == Some(0)
    }

    /// How many bytes of the body are to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hands parts of the body over. Ready when there are no more, or nobody wants them.
fn poll_relay(
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
