//! Looking at the first bytes of a connection without taking them away.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What a client with prior knowledge of HTTP/2 sends first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How a PROXY header of version 2 begins.
const PROXY_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How a PROXY header of version 1 begins.
const PROXY_V1: &[u8; 6] = b"PROXY ";

/// The first bytes of a connection, up to 24.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Opening {
    bytes: [u8; PREFACE.len()],
    len: u8,
}

impl Opening {
    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether they are the whole preface of HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.as_slice() == PREFACE
    }

    /// Whether more bytes could still make the preface of HTTP/2.
    fn may_be_http2(&self) -> bool {
        PREFACE.starts_with(self.as_slice())
    }

    /// Whether they begin a PROXY header: its version.
    pub(crate) fn proxy_version(&self) -> Option<u8> {
        if self.as_slice().starts_with(PROXY_V2) {
            Some(2)
        } else if self.as_slice().starts_with(PROXY_V1) {
            Some(1)
        } else {
            None
        }
    }

    /// Whether they begin a TLS record with a handshake message (RFC 8446, section 5.1).
    pub(crate) fn is_tls(&self) -> bool {
        self.as_slice().first() == Some(&22)
    }

    /// Whether they look like a request line, or the preface of HTTP/2.
    pub(crate) fn is_http(&self) -> bool {
        let method = self.as_slice().split(|b| *b == b' ').next().unwrap_or(&[]);
        self.proxy_version().is_none()
            && method.len() >= 3
            && method.iter().all(u8::is_ascii_uppercase)
    }

    async fn read_some<Io: AsyncRead + Unpin>(&mut self, io: &mut Io) -> io::Result<usize> {
        let n = io.read(&mut self.bytes[usize::from(self.len)..]).await?;
        self.len += n as u8;
        Ok(n)
    }
}

/// Reads until there is a byte, and on while the bytes may become the preface of HTTP/2 if
/// `for_http2`. What was read stays in `opening` when the future is dropped. An empty opening is
/// the end of the stream.
pub(crate) async fn read_opening<Io: AsyncRead + Unpin>(
    io: &mut Io,
    opening: &mut Opening,
    for_http2: bool,
) -> io::Result<()> {
    while opening.len == 0 || (for_http2 && opening.may_be_http2() && !opening.is_http2()) {
        if opening.read_some(io).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Gives the bytes of an [`Opening`] once more, then those of `Io`.
#[derive(Debug)]
pub(crate) struct Reopened<Io> {
    opening: Opening,
    at: u8,
    io: Io,
}

impl<Io> Reopened<Io> {
    /// Puts `opening` back in front of `io`.
    pub(crate) fn new(opening: Opening, io: Io) -> Self {
        Self { opening, at: 0, io }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Reopened<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at == this.opening.len {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let rest = &this.opening.as_slice()[usize::from(this.at)..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        this.at += n as u8;
        if buf.remaining() > 0 {
            // The rest of the head mostly is there already: one read gives all of it. An error
            // shows again on the next read.
            let _ = Pin::new(&mut this.io).poll_read(cx, buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Reopened<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opening(bytes: &'static [u8]) -> (Opening, Vec<u8>) {
        let mut io = bytes;
        let mut opening = Opening::default();
        read_opening(&mut io, &mut opening, true).await.unwrap();
        let mut all = Vec::new();
        let mut io = Reopened::new(opening, tokio::io::join(io, tokio::io::sink()));
        io.read_to_end(&mut all).await.unwrap();
        (opening, all)
    }

    #[tokio::test]
    async fn openings_are_told_apart_and_no_byte_is_lost() {
        let cases: [(&'static [u8], bool, Option<u8>, bool, bool); 8] = [
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest",
                true,
                None,
                false,
                true,
            ),
            (
                b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
                false,
                None,
                false,
                true,
            ),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                false,
                None,
                false,
                true,
            ),
            (
                b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
                false,
                Some(1),
                false,
                false,
            ),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET /",
                false,
                Some(2),
                false,
                false,
            ),
            (
                b"\x16\x03\x01\x02\x00rest of the hello and more",
                false,
                None,
                true,
                false,
            ),
            (b"", false, None, false, false),
            (b"PR", false, None, false, false),
        ];
        for (bytes, http2, proxy, tls, http) in cases {
            let (opening, all) = opening(bytes).await;

            assert_eq!(opening.is_http2(), http2, "{bytes:?}");
            assert_eq!(opening.proxy_version(), proxy, "{bytes:?}");
            assert_eq!(opening.is_tls(), tls, "{bytes:?}");
            assert_eq!(opening.is_http(), http, "{bytes:?}");
            assert_eq!(all, bytes);
        }
    }

    #[tokio::test]
    async fn a_preface_in_single_bytes_is_still_recognised() {
        let (mut client, mut server) = tokio::io::duplex(1);
        let mut seen = Opening::default();

        let (read, ()) = tokio::join!(read_opening(&mut server, &mut seen, true), async {
            for byte in PREFACE {
                tokio::io::AsyncWriteExt::write_all(&mut client, &[*byte])
                    .await
                    .unwrap();
            }
        });

        read.unwrap();
        assert!(seen.is_http2());
    }
}
