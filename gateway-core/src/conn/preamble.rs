//! The first bytes of a connection. They are inspected to detect the protocol, then put back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::log_throttle::LogThrottle;
use super::prefixed::Prefixed;
use crate::observer::{Event, Observer};

/// Connection preface of HTTP/2 (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Signature of a PROXY header of version 2.
const PROXY_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature of a PROXY header of version 1.
const PROXY_V1: &[u8; 6] = b"PROXY ";

/// Size of the first read, in bytes. Most ClientHellos fit, even those with a post-quantum key share.
const FIRST_READ: usize = 2048;

/// The first bytes of a connection, received by one read.
#[derive(Debug, Default)]
pub(crate) struct Preamble(BytesMut);

impl Preamble {
    /// Reads the first bytes from `io`. If the stream has ended, the preamble remains empty. The method is
    /// cancel safe: no byte is lost if the future is dropped.
    pub(crate) async fn read<Io: AsyncRead + Unpin>(&mut self, io: &mut Io) -> io::Result<()> {
        self.0.reserve(FIRST_READ);
        io.read_buf(&mut self.0).await.map(|_| ())
    }

    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Version of the PROXY header with which the bytes begin, if any.
    pub(crate) fn proxy_version(&self) -> Option<u8> {
        proxy_version(self.as_slice())
    }

    /// Whether the bytes begin a TLS handshake record (RFC 8446, section 5.1).
    pub(crate) fn is_tls(&self) -> bool {
        self.as_slice().first() == Some(&22)
    }

    /// Whether the bytes look like an HTTP request line or the HTTP/2 preface.
    pub(crate) fn is_http(&self) -> bool {
        let method = self.as_slice().split(|b| *b == b' ').next().unwrap_or(&[]);
        self.proxy_version().is_none()
            && method.len() >= 3
            && method.iter().all(u8::is_ascii_uppercase)
    }

    /// Returns `io` with the bytes put back, so that they are read again first.
    pub(crate) fn put_back<Io>(self, io: Io) -> Prefixed<Io> {
        Prefixed::new(io, self.0.freeze())
    }
}

/// Whether `bytes`, the first bytes of a connection, identify its HTTP version. `false` if the bytes are an
/// incomplete HTTP/2 preface.
pub(crate) fn identifies_protocol(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFACE) || !PREFACE.starts_with(bytes)
}

/// Version of the PROXY header with which `bytes` begin, if any.
pub(crate) fn proxy_version(bytes: &[u8]) -> Option<u8> {
    if bytes.starts_with(PROXY_V2) {
        Some(2)
    } else if bytes.starts_with(PROXY_V1) {
        Some(1)
    } else {
        None
    }
}

/// Reports a PROXY header from `peer` on a `port` that is not configured for the PROXY protocol. All requests
/// through the load balancer that sent the header fail. Therefore a warning is logged, at most once in ten
/// seconds.
pub(crate) fn report_unexpected_proxy(
    observer: &dyn Observer,
    port: u16,
    peer: SocketAddr,
    version: u8,
) {
    static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
    observer.observe(&Event::UnexpectedProxyHeader(port, peer));
    if THROTTLE.allows() {
        tracing::warn!(
            port,
            %peer,
            "connection begins with a PROXY protocol v{version} header, but the listener does not \
             accept it: set proxyProtocol in a ClientTrafficPolicy, or disable it in the load balancer"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &'static [u8]) -> (Preamble, Vec<u8>) {
        let mut io = bytes;
        let mut preamble = Preamble::default();
        preamble.read(&mut io).await.unwrap();
        let seen = Preamble(preamble.0.clone());
        let mut all = Vec::new();
        let mut io = preamble.put_back(tokio::io::join(io, tokio::io::sink()));
        io.read_to_end(&mut all).await.unwrap();
        (seen, all)
    }

    fn kind(preamble: &Preamble) -> &'static str {
        match preamble {
            p if p.proxy_version() == Some(1) => "proxy 1",
            p if p.proxy_version() == Some(2) => "proxy 2",
            p if p.is_tls() => "tls",
            p if p.is_http() => "http",
            _ => "other",
        }
    }

    #[tokio::test]
    async fn protocols_are_identified_and_no_byte_is_lost() {
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
            let (preamble, all) = read(bytes).await;

            assert_eq!(kind(&preamble), expected, "{bytes:?}");
            assert_eq!(all, bytes);
        }
    }

    #[test]
    fn a_prefix_of_the_http2_preface_does_not_identify_the_protocol() {
        for len in 0..PREFACE.len() {
            assert!(!identifies_protocol(&PREFACE[..len]));
        }
        assert!(identifies_protocol(PREFACE));
        assert!(identifies_protocol(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"));
        assert!(identifies_protocol(b"PRI * HTTP/2.0\r\n\r\nXX"));
        assert!(identifies_protocol(b"PUT"));
    }
}
