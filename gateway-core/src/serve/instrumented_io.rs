//! The byte stream of a served connection. It records reads, writes and closes in the [`Activity`] of the
//! connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::codec_error;
use super::control_frames::ControlFrameMonitor;
use super::request_framer::RequestFramer;
use super::state::{Output, Shutdown};
use super::tiny_chunks::TinyChunkMonitor;
use crate::coalesced_write;

/// Stream that records reads and writes, and withholds hyper's own error responses.
#[derive(Debug)]
pub(super) struct InstrumentedIo<Io> {
    io: Io,
    /// Bytes that the codec has not read. They were received before the codec was created, or they follow a
    /// request with an upgrade whose response is not known yet.
    prefix: Bytes,
    /// Bytes that the framer has changed and the codec has not read.
    framed: Bytes,
    activity: Arc<Activity>,
    protocol: HttpProtocol,
    framer: RequestFramer,
    tiny_chunks: TinyChunkMonitor,
    has_tiny_chunk_flood: bool,
    /// Monitor of control frames. `None` for HTTP/1.
    control_frames: Option<Box<ControlFrameMonitor>>,
    /// Whether the client has closed its side while a request is served. The end of the stream is hidden from
    /// the codec until the response is complete, because the codec would drop the request.
    end_withheld: bool,
    /// Waker of the codec while it must not read: the bytes after a request with an upgrade, or the end of
    /// the stream. It is woken after the response.
    read_waker: Option<Waker>,
}

/// HTTP version of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HttpProtocol {
    /// HTTP/1.
    Http1 {
        /// Whether the connection does not use TLS. If so, closing the socket is the only step of the
        /// shutdown.
        plain: bool,
    },
    /// HTTP/2.
    Http2,
}

impl<Io> InstrumentedIo<Io> {
    /// Instruments `io`, from which `prefix` has been read already.
    pub(super) fn new(
        io: Io,
        prefix: Bytes,
        activity: Arc<Activity>,
        protocol: HttpProtocol,
    ) -> Self {
        let requests = activity.state().requests();
        Self {
            io,
            prefix,
            framed: Bytes::new(),
            activity,
            protocol,
            framer: RequestFramer::new(requests),
            tiny_chunks: TinyChunkMonitor::default(),
            has_tiny_chunk_flood: false,
            control_frames: match protocol {
                HttpProtocol::Http1 { .. } => None,
                HttpProtocol::Http2 => Some(Box::new(ControlFrameMonitor::new())),
            },
            end_withheld: false,
            read_waker: None,
        }
    }

    /// Whether the last bytes are those of an incomplete request head.
    pub(super) fn is_within_head(&self) -> bool {
        self.framer.is_within_head()
    }

    /// Whether the client sends too many tiny chunks. If so, the connection is not read any further.
    pub(super) fn has_tiny_chunk_flood(&self) -> bool {
        self.has_tiny_chunk_flood
    }

    /// The underlying stream, and the received bytes that the codec has not read.
    pub(super) fn into_parts(self) -> (Io, Bytes) {
        (self.io, self.prefix)
    }

    fn is_http1(&self) -> bool {
        self.protocol != HttpProtocol::Http2
    }

    fn read_from(buffered: &mut Bytes, buf: &mut ReadBuf<'_>) {
        let len = buffered.len().min(buf.remaining());
        buf.put_slice(&buffered[..len]);
        buffered.advance(len);
        if buffered.is_empty() {
            // Frees the memory of the buffer.
            *buffered = Bytes::new();
        }
    }

    /// Scans and records the bytes received after the first `before` bytes of `buf`. Removes bytes that the
    /// codec must not parse.
    fn on_received(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let received = buf.filled().len() - before;
        let mut within_head = false;
        if let Some(monitor) = &mut self.control_frames {
            let bytes = &buf.filled()[before..];
            if monitor.scan(bytes, || self.activity.now()) {
                self.activity.state().on_control_frame_flood();
            }
            within_head = monitor.is_within_head();
        }
        if !self.is_http1() || received == 0 {
            return self
                .activity
                .on_read(received, self.is_http1(), None, within_head);
        }
        let framed = self.framer.scan(&buf.filled()[before..]);
        let tiny = self.framer.take_tiny_chunks();
        if tiny > 0 && self.tiny_chunks.exceeds(tiny, || self.activity.now()) {
            self.has_tiny_chunk_flood = true;
        }
        let mut passed = received;
        if self.framer.is_switching() {
            passed = framed.valid;
            let kept = &buf.filled()[before + passed..];
            self.prefix = [kept, &self.prefix].concat().into();
        }
        if passed > 0 {
            let within_head = self.framer.is_within_head();
            self.activity
                .on_read(passed, true, framed.lenient, within_head);
        }
        match framed.replacement {
            None => buf.set_filled(before + framed.valid),
            Some(replacement) => {
                buf.set_filled(before);
                self.framed = replacement.into();
                Self::read_from(&mut self.framed, buf);
            }
        }
    }

    fn on_written(&mut self, result: &Poll<io::Result<usize>>) {
        if let (Some(monitor), Poll::Ready(Ok(sent))) = (&mut self.control_frames, result) {
            monitor.on_sent(*sent);
        }
        self.activity.on_write(result.is_pending());
    }

    /// Waits for the response to a request with an upgrade. If the response accepts the upgrade, the bytes
    /// that follow belong to a tunnel; otherwise they begin the next request.
    fn poll_upgrade(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.framer.is_switching() && !self.settle_upgrade() {
            self.read_waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Hides the end of the client's side while [`Self::withholds_end`] returns true.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.withholds_end() {
            self.end_withheld = true;
            self.read_waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Whether the codec may read again.
    fn may_read(&mut self) -> bool {
        match self.end_withheld {
            true => !self.withholds_end(),
            false => self.settle_upgrade(),
        }
    }

    /// Whether the response to the request with an upgrade is known. If so, the framer continues.
    fn settle_upgrade(&mut self) -> bool {
        let state = self.activity.state();
        let accepted = state.output == Output::Tunnel;
        let ended = state.requests() >= self.framer.heads() && !state.is_serving();
        if accepted || ended {
            self.framer.settle_upgrade(accepted);
        }
        accepted || ended
    }

    /// Whether the end of the client's side must be hidden from the codec. This is the case while a request
    /// is being answered that the client has sent completely.
    fn withholds_end(&self) -> bool {
        let state = self.activity.state();
        self.is_http1()
            && state.is_serving()
            && state.output != Output::Tunnel
            && !self.framer.is_body_incomplete(state.requests())
    }

    /// Status of the codec's own error response, if `bytes` begin one.
    fn own_error(&self, bytes: &[u8]) -> Option<u16> {
        if !self.is_http1() {
            return None;
        }
        let status = codec_error::status_of(bytes)?;
        self.activity.is_output_flushed().then_some(status)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for InstrumentedIo<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.framed.is_empty() {
            Self::read_from(&mut this.framed, buf);
            return Poll::Ready(Ok(()));
        }
        if this.has_tiny_chunk_flood {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too many tiny chunks",
            )));
        }
        if this.framer.is_malformed() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "malformed chunk",
            )));
        }
        let before = buf.filled().len();
        if this.end_withheld {
            return this.poll_end(cx).map(Ok);
        }
        let waits = this.poll_upgrade(cx).is_pending();
        if waits && !this.prefix.is_empty() {
            return Poll::Pending;
        }
        if this.prefix.is_empty() {
            let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
            read.inspect_err(|_| this.activity.on_read(0, this.is_http1(), None, false))?;
        } else {
            Self::read_from(&mut this.prefix, buf);
        }
        let received = buf.filled().len() - before;
        this.on_received(buf, before);
        if received == 0 {
            // A request may be in progress whose response can still be sent. If so, the codec reads the end of
            // the stream afterwards.
            return this.poll_end(cx).map(Ok);
        }
        if buf.filled().len() == before {
            // No byte may be passed to the codec: the received bytes begin with a defect, or follow a request
            // with an upgrade. Returning no bytes would signal the end of the stream, so the stream is read
            // again instead.
            return Pin::new(this).poll_read(cx, buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for InstrumentedIo<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(status) = this.own_error(buf) {
            this.activity.on_withheld(status);
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.on_written(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(status) = bufs.first().and_then(|buf| this.own_error(buf)) {
            this.activity.on_withheld(status);
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = coalesced_write::poll_write(Pin::new(&mut this.io), cx, bufs);
        this.on_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_flush(cx);
        // With TLS, writes fill a buffer, and only the flush waits for the client.
        this.activity.on_flush(result.is_pending());
        if this.read_waker.is_some()
            && this.may_read()
            && let Some(waker) = this.read_waker.take()
        {
            waker.wake();
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let client_closed = {
            let state = this.activity.state();
            if state.shutdown != Shutdown::Forward {
                // The stream stays open for the response that replaces the withheld one, or for the next
                // codec.
                return Poll::Ready(Ok(()));
            }
            state.client_closed.is_some()
        };
        if client_closed && this.protocol == (HttpProtocol::Http1 { plain: true }) {
            // The socket is not shut down here, because it is closed next.
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut this.io).poll_shutdown(cx);
        this.activity.on_write(result.is_pending());
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

    /// A stream that buffers written bytes, like a TLS stream: writes always succeed, and a flush succeeds
    /// only if `flushes` is set.
    struct BufferedStream {
        flushes: bool,
    }

    impl AsyncWrite for BufferedStream {
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

    fn instrumented(flushes: bool) -> (InstrumentedIo<BufferedStream>, Arc<Activity>) {
        let activity = Arc::new(Activity::new(
            ConnectionGuard::for_tests(),
            Drain::new(),
            None,
        ));
        let protocol = HttpProtocol::Http1 { plain: true };
        let stream = BufferedStream { flushes };
        let io = InstrumentedIo::new(stream, Bytes::new(), activity.clone(), protocol);
        (io, activity)
    }

    #[tokio::test]
    async fn a_pending_flush_blocks_the_connection() {
        let (mut io, activity) = instrumented(false);

        io.write_all(b"x").await.unwrap();
        assert_eq!(activity.state().blocked_since, None);
        assert!(io.flush().now_or_never().is_none());
        assert!(activity.state().blocked_since.is_some());
        io.io.flushes = true;
        io.flush().await.unwrap();
        assert_eq!(activity.state().blocked_since, None);
        io.io.flushes = false;
        assert!(io.shutdown().now_or_never().is_none());
        assert!(activity.state().blocked_since.is_some());
    }

    #[tokio::test]
    async fn an_error_response_of_the_codec_is_withheld_and_the_stream_stays_open() {
        let (mut io, activity) = instrumented(false);
        let own = [b"HTTP/1.1 400 Bad Request\r\n".as_slice(), b"\r\n"];
        let slices = own.map(io::IoSlice::new);

        let n = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &slices)).await;
        let shut = io.shutdown().now_or_never();

        assert_eq!(n.unwrap(), 28);
        assert_eq!(activity.withheld(), Some(400));
        assert!(
            matches!(shut, Some(Ok(()))),
            "the shutdown does not reach the stream"
        );
    }
}
