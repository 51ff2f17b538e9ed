//! The bytes of a served connection, with everything about them noted in its [`Activity`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::codec_error;

/// Notes what is read and written; keeps back the error answers that hyper writes by itself.
#[derive(Debug)]
pub(crate) struct Watched<Io> {
    io: Io,
    activity: Arc<Activity>,
    http1: bool,
}

impl<Io> Watched<Io> {
    /// Watches `io`, on which HTTP/1 or HTTP/2 is spoken.
    pub(crate) fn new(io: Io, activity: Arc<Activity>, http1: bool) -> Self {
        Self {
            io,
            activity,
            http1,
        }
    }

    /// Gives back what was watched.
    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    /// The status of an error answer of hyper's own, if that is what `bytes` are.
    fn own_error(&self, bytes: &[u8]) -> Option<u16> {
        if self.http1 && self.activity.is_quiet() {
            codec_error::status_of(bytes)
        } else {
            None
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.activity
            .note_read(buf.filled().len() - before, this.http1);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(status) = this.own_error(buf) {
            this.activity.withhold(status);
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.activity.note_write(result.is_pending());
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(status) = bufs.first().and_then(|buf| this.own_error(buf)) {
            this.activity.withhold(status);
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.activity.note_write(result.is_pending());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_flush(cx);
        match result {
            Poll::Ready(_) => this.activity.note_flushed(),
            Poll::Pending => this.activity.note_write(true),
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The answer in place of the one kept back is still to be written.
        if self.activity.withheld().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
