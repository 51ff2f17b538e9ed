//! Codec of the PROXY protocol, versions 1 and 2. A load balancer sends a PROXY header with the address
//! of the client at the start of a connection.
//!
//! [`decode`] is a pure function of the bytes received so far. It reads no socket and does not allocate:
//!
//! | result | meaning |
//! |---|---|
//! | `Ok(`[`Decoded`]`)` | a complete, valid header and its length in bytes |
//! | [`Error::Incomplete`] | a prefix of a valid header, and the minimum number of missing bytes |
//! | [`Error::Absent`] | the bytes match neither signature: no PROXY header |
//! | [`Error::Invalid`] | the bytes match a signature, but the header is invalid |
//!
//! If no further bytes can complete the received bytes to a valid header, the result is [`Error::Invalid`]
//! immediately, so the caller does not have to wait for a timeout. The body of a version 2 header is the
//! exception: for an incomplete body, the result is always [`Error::Incomplete`]. The length of the body is
//! known and bounded, and the specification forbids a receiver to parse addresses before the whole block is
//! received.
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
//! The specification is HAProxy's `proxy-protocol.txt`. The decoder is stricter than Envoy, except that it
//! converts IPv4-mapped addresses to IPv4:
//!
//! | input | Envoy | this module | reason |
//! |---|---|---|---|
//! | v1 line of 108 bytes | accepted | invalid | section 2.1: at most 107 with CRLF |
//! | v1 port with leading zeros | accepted | invalid | section 2.1: one canonical form |
//! | v1 space before CRLF | accepted | invalid | section 2.1: exactly one space between fields, none after the last |
//! | v2 wrong CRC32c | accepted | invalid | section 2.2.3: a mismatch is an invalid header |
//! | v2 CRC32c not of 4 bytes, or repeated; unique id above 128 bytes; truncated SSL fields | accepted | invalid | section 2.2: the format fixes these lengths |
//! | v2 `len` above the caller's limit | accepted | invalid | bounds the caller's buffer; the gateway sets the maximum of 65,535 bytes, because its buffer grows only with received bytes |
//! | v2 IPv4-mapped addresses | kept as IPv6 | IPv4 | rules for IPv4 networks match them |
//!
//! Where the specification leaves a choice, the decoder behaves like Envoy:
//!
//! - `PROXY` with an unspecified family or protocol, or with Unix addresses, is invalid.
//! - Datagram and stream protocols are both accepted.
//! - Unspecified, multicast and broadcast addresses are invalid.
//!
//! TLV values are unauthenticated input. Validate a value with [`http::HeaderValue::from_bytes`] before
//! copying it into a header field.

mod crc32c;
mod encode;
mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod model;
#[cfg(test)]
mod rules;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use encode::{TooLong, encode_v1, encode_v2};
pub use tlv::{Ssl, SslField, SslFields, Tlv, TlvIter, Tlvs, encode_tlv};

/// Recommended limit of `len` of a version 2 header: 4,096 bytes.
pub const DEFAULT_LIMIT: u16 = 4096;

/// PROXY protocol of client connections, version 1 or 2.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ProxyProtocol {
    /// Whether connections without a PROXY header are also served. Default: `false`; these connections are
    /// closed.
    pub optional: bool,
    /// Networks of the proxies. The PROXY header of another peer is read, but its addresses are ignored.
    /// `None`: the addresses of every peer are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Vec<IpNet>>,
}

impl ProxyProtocol {
    /// Whether the addresses in the header of `peer` are used.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        match &self.trusted {
            None => true,
            Some(networks) => networks.iter().any(|network| network.contains(&peer)),
        }
    }
}

/// Decodes the PROXY header at the start of `bytes`. `limit` is the maximum length of a version 2 header
/// after its fixed part, in bytes.
///
/// # Errors
/// See [`Error`]. After [`Error::Incomplete`], call the function again with the same bytes and at least
/// `needed` further bytes.
pub fn decode(bytes: &[u8], limit: u16) -> Result<Decoded<'_>, Error> {
    if begins(bytes, v1::SIGNATURE) {
        v1::decode(bytes)
    } else if begins(bytes, &v2::SIGNATURE) {
        v2::decode(bytes, limit)
    } else {
        Err(Error::Absent)
    }
}

/// Whether `bytes` start with `signature` or are a prefix of it.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let seen = bytes.len().min(signature.len());
    bytes[..seen] == signature[..seen]
}

/// A decoded header and its length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decoded<'a> {
    /// The header.
    pub header: Header<'a>,
    /// Length of the header in bytes. The client's data follows the header.
    pub len: usize,
}

/// A PROXY header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// Version of the protocol.
    pub version: Version,
    /// Command. Contains the addresses of a proxied connection.
    pub command: Command,
    /// TLVs. Empty in version 1 and with [`Command::Local`].
    pub tlvs: Tlvs<'a>,
}

impl Header<'_> {
    /// Addresses of the proxied connection. `None`: the addresses of the TCP connection apply.
    pub fn addresses(&self) -> Option<Addresses> {
        match self.command {
            Command::Local => None,
            Command::Proxy(_, addresses) => Some(addresses),
        }
    }
}

/// Version of the PROXY protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// Version 1, a line of text.
    V1,
    /// Version 2, binary.
    V2,
}

/// Command of a header.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    /// Version 2, `LOCAL`: a connection of the sender itself, such as a health check. Version 1, `UNKNOWN`: a
    /// connection without known addresses. In both cases the addresses of the TCP connection apply.
    Local,
    /// A proxied connection of a client.
    Proxy(Transport, Addresses),
}

/// Transport protocol between client and sender.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// Addresses of the client's connection. They are unicast, and IPv4-mapped IPv6 addresses are converted to
/// IPv4.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Addresses {
    /// Address of the client.
    pub source: SocketAddr,
    /// Address to which the client connected.
    pub destination: SocketAddr,
}

/// Error of [`decode`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The header is incomplete: at least `needed` more bytes are missing.
    #[error("at least {needed} bytes are missing")]
    Incomplete {
        /// Minimum number of missing bytes, at least 1.
        needed: usize,
    },
    /// The bytes match neither signature.
    #[error("no PROXY header")]
    Absent,
    /// The bytes match a signature, but the header is invalid.
    #[error("invalid PROXY header: {0}")]
    Invalid(#[from] Invalid),
}

/// The invalid part of a header.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The signature of version 2 is followed by a version other than 2.
    #[error("version")]
    Version,
    /// The command is neither `LOCAL` nor `PROXY`.
    #[error("command")]
    Command,
    /// The address family or protocol is unknown or unsupported.
    #[error("protocol")]
    Protocol,
    /// An address is malformed, of the wrong family or not unicast.
    #[error("address")]
    Address,
    /// A port is malformed or out of range.
    #[error("port")]
    Port,
    /// The version 1 line exceeds 107 bytes, or `len` of version 2 exceeds the caller's limit.
    #[error("too long")]
    TooLong,
    /// `len` is too small for the addresses.
    #[error("too short")]
    TooShort,
    /// The version 1 line does not end with CRLF after its last field.
    #[error("line end")]
    LineEnd,
    /// A TLV is truncated, repeated or of an invalid length.
    #[error("TLV")]
    Tlv,
    /// The CRC32c checksum does not match.
    #[error("checksum")]
    Checksum,
}

impl Invalid {
    /// Stable identifier for logs and metrics.
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
