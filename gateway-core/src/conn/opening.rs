//! Looking at the first bytes of a connection without taking them away.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::prefixed::Prefixed;

/// What a client with prior knowledge of HTTP/2 sends first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How a PROXY header of version 2 begins.
const PROXY_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How a PROXY header of version 1 begins.
const PROXY_V1: &[u8; 6] = b"PROXY ";

/// Bytes that are read at once: nearly every ClientHello, also one with a post-quantum key.
const ROOM: usize = 2048;

/// The first bytes of a connection, as many as came at once.
#[derive(Debug, Default)]
pub(crate) struct Opening(BytesMut);

impl Opening {
    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether they begin a PROXY header: its version.
    pub(crate) fn proxy_version(&self) -> Option<u8> {
        proxy_version(self.as_slice())
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
    pub(crate) fn put_back<Io>(self, io: Io) -> Prefixed<Io> {
        Prefixed::new(io, self.0.freeze())
    }
}

/// Whether these first bytes of a connection tell what is spoken on it: not while they are the begin
/// of the preface of HTTP/2 only.
pub(crate) fn is_telling(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFACE) || !PREFACE.starts_with(bytes)
}

/// Whether these first bytes of a connection begin a PROXY header: its version.
pub(crate) fn proxy_version(bytes: &[u8]) -> Option<u8> {
    if bytes.starts_with(PROXY_V2) {
        Some(2)
    } else if bytes.starts_with(PROXY_V1) {
        Some(1)
    } else {
        None
    }
}

/// Reads the bytes that come first. What was read stays in `opening` when the future is dropped. An
/// empty opening is the end of the stream.
pub(crate) async fn read_opening<Io: AsyncRead + Unpin>(
    io: &mut Io,
    opening: &mut Opening,
) -> io::Result<()> {
    opening.0.reserve(ROOM);
    io.read_buf(&mut opening.0).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opening(bytes: &'static [u8]) -> (Opening, Vec<u8>) {
        let mut io = bytes;
        let mut opening = Opening::default();
        read_opening(&mut io, &mut opening).await.unwrap();
        let seen = Opening(opening.0.clone());
        let mut all = Vec::new();
        let mut io = opening.put_back(tokio::io::join(io, tokio::io::sink()));
        io.read_to_end(&mut all).await.unwrap();
        (seen, all)
    }

    fn kind(opening: &Opening) -> &'static str {
        match opening {
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
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest", "http"),
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

    #[test]
    fn only_what_may_become_the_preface_of_http2_has_to_be_waited_for() {
        for len in 0..PREFACE.len() {
            assert!(!is_telling(&PREFACE[..len]));
        }
        assert!(is_telling(PREFACE));
        assert!(is_telling(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"));
        assert!(is_telling(b"PRI * HTTP/2.0\r\n\r\nXX"));
        assert!(is_telling(b"PUT"));
    }
}
