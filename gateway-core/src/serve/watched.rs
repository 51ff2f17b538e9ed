//! The bytes of a served connection, with everything about them noted in its [`Activity`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::codec_error;
use super::mended::HeadScan;
use crate::coalesced_write;

/// Notes what is read and written; keeps back the error answers that hyper writes by itself.
#[derive(Debug)]
pub(crate) struct Watched<Io> {
    io: Io,
    /// Read before the codec was there; empty when it has them.
    early: Bytes,
    activity: Arc<Activity>,
    http1: bool,
    /// The connection has nothing to say at its end that closing does not say.
    plain: bool,
    scan: HeadScan,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spoken {
    /// HTTP/1, with TLS or without.
    Http1 { plain: bool },
    /// HTTP/2.
    Http2,
}

impl<Io> Watched<Io> {
    /// Watches `io`, from which `early` was read already.
    pub(crate) fn new(io: Io, early: Bytes, activity: Arc<Activity>, spoken: Spoken) -> Self {
        Self {
            io,
            early,
            activity,
            http1: spoken != Spoken::Http2,
            plain: spoken == Spoken::Http1 { plain: true },
            scan: HeadScan::default(),
        }
    }

    /// Gives back what was watched.
    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    fn give_early(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..len]);
        self.early.advance(len);
        if self.early.is_empty() {
            // Frees the memory behind it.
            self.early = Bytes::new();
        }
    }

    /// Looks at bytes that came for what hyper does not tell. To be called before they are noted.
    fn look(&mut self, bytes: &[u8]) {
        if !self.http1 || !self.activity.is_at_head() {
            return;
        }
        if self.activity.is_idle() {
            self.scan = HeadScan::default();
        }
        if let Some(mended) = self.scan.look(bytes) {
            self.activity.note_mended(mended);
        }
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
        if this.early.is_empty() {
            let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
            read.inspect_err(|_| this.activity.note_read(0, this.http1))?;
        } else {
            this.give_early(buf);
        }
        this.look(&buf.filled()[before..]);
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
        let result = coalesced_write::poll_write(Pin::new(&mut this.io), cx, bufs);
        this.activity.note_write(result.is_pending());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_flush(cx);
        // Under TLS a write goes into a buffer, and it is here that the client makes us wait.
        this.activity.note_write(result.is_pending());
        if result.is_ready() {
            this.activity.note_flushed();
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Either the answer in place of the one kept back is still to be written, or only the codec goes.
        if self.activity.keeps_open() {
            return Poll::Ready(Ok(()));
        }
        let this = self.get_mut();
        if this.plain && this.activity.has_ended() {
            // Closing, which comes next, says the same.
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut this.io).poll_shutdown(cx);
        this.activity.note_write(result.is_pending());
        result
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::conn::{ConnectionGuard, Drain};

    /// Takes all bytes, but flushes them only when told, as a TLS stream may.
    struct Buffer {
        flushes: bool,
    }

    impl AsyncWrite for Buffer {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.flushes {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    fn watched(flushes: bool) -> (Watched<Buffer>, Arc<Activity>) {
        let activity = Arc::new(Activity::new(
            ConnectionGuard::for_tests(),
            Drain::new(),
            None,
        ));
        let spoken = Spoken::Http1 { plain: true };
        let watched = Watched::new(Buffer { flushes }, Bytes::new(), activity.clone(), spoken);
        (watched, activity)
    }

    #[tokio::test]
    async fn a_flush_that_waits_is_a_write_that_waits() {
        let (mut io, activity) = watched(false);

        io.write_all(b"x").await.unwrap();
        assert_eq!(activity.seen().blocked_since, None);
        assert!(io.flush().now_or_never().is_none());
        assert!(activity.seen().blocked_since.is_some());
        io.io.flushes = true;
        io.flush().await.unwrap();
        assert_eq!(activity.seen().blocked_since, None);
        io.io.flushes = false;
        assert!(io.shutdown().now_or_never().is_none());
        assert!(activity.seen().blocked_since.is_some());
    }

    #[tokio::test]
    async fn an_answer_of_the_codecs_own_is_kept_back_and_the_rest_stays_open() {
        let (mut io, activity) = watched(false);
        let own = [b"HTTP/1.1 400 Bad Request\r\n".as_slice(), b"\r\n"];
        let slices = own.map(io::IoSlice::new);

        let n = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &slices)).await;
        let shut = io.shutdown().now_or_never();

        assert_eq!(n.unwrap(), 28);
        assert_eq!(activity.withheld(), Some(400));
        assert!(
            matches!(shut, Some(Ok(()))),
            "nothing reaches the stream below"
        );
    }
}
