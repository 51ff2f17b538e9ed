//! The PROXY protocol, versions 1 and 2: who the client is, told by the load balancer in front.
//!
//! Bytes in, values out: nothing here reads a socket, waits or allocates. [`decode`] looks at the
//! bytes that have arrived so far and says one of four things:
//!
//! | result | meaning |
//! |---|---|
//! | `Ok(`[`Decoded`]`)` | a whole, valid header, and how many bytes it takes |
//! | [`Error::Incomplete`] | a beginning of a valid header; at least so many bytes are missing |
//! | [`Error::Absent`] | fits neither signature: no PROXY header at all |
//! | [`Error::Invalid`] | a signature, but what follows is broken |
//!
//! A beginning that no further byte can make valid is an error at once, so nobody waits in vain. The
//! one exception is the body of a version 2 header: its length is known and bounded, and the
//! specification forbids to look at an address before the whole block is there.
//!
//! ```
//! use towergate_core::proxy_protocol::{DEFAULT_LIMIT, Error, decode};
//!
//! let bytes = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\nGET / HTTP/1.1\r\n";
//! let decoded = decode(bytes, DEFAULT_LIMIT).unwrap();
//! assert_eq!(decoded.header.addresses().unwrap().source, "203.0.113.7:56324".parse().unwrap());
//! assert_eq!(&bytes[decoded.len..], b"GET / HTTP/1.1\r\n");
//!
//! assert_eq!(decode(b"GET / HTTP/1.1", DEFAULT_LIMIT), Err(Error::Absent));
//! ```
//!
//! The source is HAProxy's `proxy-protocol.txt`. What differs from Envoy, each time on the safe side:
//!
//! | input | Envoy | here | why |
//! |---|---|---|---|
//! | v1 line of 108 bytes | accepted | invalid | section 2.1: at most 107 with CRLF |
//! | v1 port with leading zeros | accepted | invalid | section 2.1: one canonical form, so no two readings |
//! | v1 blank before CRLF | accepted | invalid | section 2.1: exactly one blank between fields, none after |
//! | v2 wrong CRC32c | accepted | invalid | section 2.2.3: a mismatch is an invalid header |
//! | v2 CRC32c not of 4 bytes, or twice; unique id above 128 bytes; broken SSL fields | accepted | invalid | section 2.2: these lengths are the format |
//! | v2 `len` above the caller's limit | accepted | invalid | who decodes may not want to hold 64 KiB; the gateway takes all, as its memory grows only with what was sent |
//! | v2 IPv4-mapped addresses | kept as IPv6 | IPv4 | else rules for IPv4 networks would not see them |
//!
//! And where the specification leaves a choice, Envoy's is taken: `PROXY` with an unspecified family
//! or protocol, or with Unix addresses, is invalid; datagram protocols count like streams; addresses
//! that are unspecified, multicast or broadcast are invalid.
//!
//! What a TLV holds is as true as its sender. A value that goes into a header field must pass
//! [`http::HeaderValue::from_bytes`].

mod crc32c;
mod encode;
mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod model;
#[cfg(test)]
mod rules;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use encode::{TooLong, encode_v1, encode_v2};
pub use tlv::{Ssl, SslField, SslFields, Tlv, TlvIter, Tlvs, encode_tlv};

/// The largest `len` of a version 2 header that is taken, in bytes, unless the caller says otherwise.
pub const DEFAULT_LIMIT: u16 = 4096;

/// Whether connections begin with a PROXY protocol header, version 1 or 2.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ProxyProtocol {
    /// Connections without a header are served too. Default: they are closed.
    pub optional: bool,
}

/// Decodes the PROXY header at the start of `bytes`, with at most `limit` bytes after the fixed part
/// of version 2.
///
/// # Errors
/// See [`Error`]. [`Error::Incomplete`] asks to be called again with the same bytes and more.
pub fn decode(bytes: &[u8], limit: u16) -> Result<Decoded<'_>, Error> {
    if begins(bytes, v1::SIGNATURE) {
        v1::decode(bytes)
    } else if begins(bytes, &v2::SIGNATURE) {
        v2::decode(bytes, limit)
    } else {
        Err(Error::Absent)
    }
}

/// Whether `bytes` begin with `signature`, as far as there are bytes.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let seen = bytes.len().min(signature.len());
    bytes[..seen] == signature[..seen]
}

/// A whole header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decoded<'a> {
    /// What it says.
    pub header: Header<'a>,
    /// The bytes that it takes; what follows belongs to the client.
    pub len: usize,
}

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// The version of the format.
    pub version: Version,
    /// Whose connection it is.
    pub command: Command,
    /// Further fields; none in version 1 and in [`Command::Local`].
    pub tlvs: Tlvs<'a>,
}

impl Header<'_> {
    /// The addresses that replace those of the TCP connection; `None`: keep them.
    pub fn addresses(&self) -> Option<Addresses> {
        match self.command {
            Command::Local => None,
            Command::Proxy(_, addresses) => Some(addresses),
        }
    }
}

/// The version of the format.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    /// The sender's own, such as a health check (`LOCAL`), or one that it cannot describe
    /// (`UNKNOWN`): the addresses of the TCP connection are the right ones.
    Local,
    /// A client's.
    Proxy(Transport, Addresses),
}

/// How the client came to the sender.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// The two ends of the client's connection. Unicast; IPv4-mapped addresses are IPv4 here.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// Why there is no header (yet).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum Error {
    /// At least `needed` more bytes are missing; never 0.
    #[error("at least {needed} bytes are missing")]
    Incomplete {
        /// A lower bound, in bytes.
        needed: usize,
    },
    /// The bytes fit neither signature.
    #[error("no PROXY header")]
    Absent,
    /// The bytes start like a header and are none.
    #[error("invalid PROXY header: {0}")]
    Invalid(#[from] Invalid),
}

/// What is broken in a header.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Version 2's signature with another version.
    #[error("version")]
    Version,
    /// A command other than LOCAL and PROXY.
    #[error("command")]
    Command,
    /// An unknown or unusable address family or protocol.
    #[error("protocol")]
    Protocol,
    /// An address that is malformed, of the wrong family or not unicast.
    #[error("address")]
    Address,
    /// A port that is malformed or out of range.
    #[error("port")]
    Port,
    /// Longer than the line of version 1 may be, or than the caller's limit.
    #[error("too long")]
    TooLong,
    /// `len` is too small for the addresses.
    #[error("too short")]
    TooShort,
    /// The line of version 1 does not end where it should.
    #[error("line end")]
    LineEnd,
    /// A TLV is cut or has an impossible length.
    #[error("TLV")]
    Tlv,
    /// The checksum differs.
    #[error("checksum")]
    Checksum,
}

impl Invalid {
    /// The word for logs and metrics, which never changes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Command => "command",
            Self::Protocol => "protocol",
            Self::Address => "address",
            Self::Port => "port",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::LineEnd => "line_end",
            Self::Tlv => "tlv",
            Self::Checksum => "checksum",
        }
    }
}

/// The address as the rest of the gateway sees it, if a connection can have such an end.
fn unicast(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    let other = ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST;
    (!other).then_some(ip)
}
