//! A connection whose first bytes have been read for inspection, and are read again by its user.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project! {
    /// Connection from which a prefix is read first, and then the bytes of the underlying connection. After
    /// the prefix has been read, a read costs one additional comparison.
    #[derive(Debug)]
    pub struct Prefixed<Io> {
        prefix: Bytes,
        #[pin]
        io: Io,
    }
}

impl<Io> Prefixed<Io> {
    /// Puts `prefix` back in front of `io`.
    pub fn new(io: Io, prefix: Bytes) -> Self {
        Self { prefix, io }
    }

    /// The underlying connection.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// The underlying connection, and the unread part of the prefix.
    pub fn into_parts(self) -> (Io, Bytes) {
        (self.io, self.prefix)
    }
}

impl<Io: AsyncRead> AsyncRead for Prefixed<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.prefix.is_empty() {
            return this.io.poll_read(cx, buf);
        }
        let len = this.prefix.len().min(buf.remaining());
        buf.put_slice(&this.prefix[..len]);
        this.prefix.advance(len);
        if this.prefix.is_empty() {
            // Frees the memory of the prefix.
            *this.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite> AsyncWrite for Prefixed<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_prefix_is_read_first_in_reads_of_any_size() {
        for size in 1..8 {
            let (mut client, server) = duplex(64);
            client.write_all(b"late").await.unwrap();
            client.shutdown().await.unwrap();
            let mut prefixed = Prefixed::new(server, Bytes::from_static(b"early"));

            let mut all = Vec::new();
            let mut buffer = vec![0; size];
            loop {
                let n = prefixed.read(&mut buffer).await.unwrap();
                all.extend_from_slice(&buffer[..n]);
                if n == 0 {
                    break;
                }
            }

            assert_eq!(all, b"earlylate");
        }
    }

    #[tokio::test]
    async fn the_parts_include_the_unread_prefix() {
        let (_client, server) = duplex(64);
        let mut prefixed = Prefixed::new(server, Bytes::from_static(b"early"));

        prefixed.read_exact(&mut [0; 2]).await.unwrap();

        assert_eq!(prefixed.into_parts().1, "rly");
    }

    #[tokio::test]
    async fn writes_pass_through() {
        let (mut client, server) = duplex(64);
        let mut prefixed = Prefixed::new(server, Bytes::from_static(b"early"));

        assert_eq!(
            prefixed.is_write_vectored(),
            prefixed.io().is_write_vectored()
        );
        prefixed.write_all(b"one ").await.unwrap();
        let bufs = [IoSlice::new(b"two "), IoSlice::new(b"three")];
        let n = prefixed.write_vectored(&bufs).await.unwrap();
        prefixed.shutdown().await.unwrap();

        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, &"one two three"[..4 + n]);
    }
}
