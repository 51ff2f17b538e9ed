//! Looking at the first bytes of a connection without taking them away.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::prefixed::Prefixed;

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

    /// Puts the bytes back in front of `io`.
    pub(crate) fn put_back<Io>(&self, io: Io) -> Prefixed<Io> {
        Prefixed::new(io, Bytes::copy_from_slice(self.as_slice()))
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn opening(bytes: &'static [u8]) -> (Opening, Vec<u8>) {
        let mut io = bytes;
        let mut opening = Opening::default();
        read_opening(&mut io, &mut opening, true).await.unwrap();
        let mut all = Vec::new();
        let mut io = opening.put_back(tokio::io::join(io, tokio::io::sink()));
        io.read_to_end(&mut all).await.unwrap();
        (opening, all)
    }

    fn kind(opening: &Opening) -> &'static str {
        match opening {
            o if o.is_http2() => "http2",
            o if o.proxy_version() == Some(1) => "proxy 1",
            o if o.proxy_version() == Some(2) => "proxy 2",
            o if o.is_tls() => "tls",
            o if o.is_http() => "http",
            _ => "other",
        }
    }

    #[tokio::test]
    async fn openings_are_told_apart_and_no_byte_is_lost() {
        let cases: [(&'static [u8], &str); 9] = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest", "http2"),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "http"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "proxy 1"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET /", "proxy 2"),
            (b"\x16\x03\x01\x02\x00rest of the hello", "tls"),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", "other"),
            (b"PR", "other"),
            (b"", "other"),
        ];
        for (bytes, expected) in cases {
            let (opening, all) = opening(bytes).await;

            assert_eq!(kind(&opening), expected, "{bytes:?}");
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
