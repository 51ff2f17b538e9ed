//! Encoder of PROXY headers for connections to backends.
//!
//! If the addresses are unknown, the header is `UNKNOWN` or `LOCAL`, so the connection is still usable.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Addresses, Tlv, Transport, crc32c, tlv, v2};

/// Error: a value exceeds its maximum length, for example a TLV or header above 65,535 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too long for a PROXY header")]
pub struct TooLong;

/// Appends a version 1 header to `out`. If `addresses` is `None`, the protocol is `UNKNOWN`.
pub fn encode_v1(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    const INFALLIBLE: &str = "writing to a Vec does not fail";
    let Some(addresses) = addresses else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let Addresses {
        source,
        destination,
    } = addresses;
    let (from, to) = (source.port(), destination.port());
    match same_family(addresses) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            write!(out, "PROXY TCP4 {source} {destination} {from} {to}\r\n")
        }
        (source, destination) => write!(out, "PROXY TCP6 {source} {destination} {from} {to}\r\n"),
    }
    .expect(INFALLIBLE);
}

/// Appends a version 2 header to `out`. If there are no addresses, the command is `LOCAL`. If `checksum` is
/// set, the last TLV is a CRC32c. Any [`Tlv::Crc32c`] in `tlvs` is ignored.
///
/// # Errors
/// [`TooLong`] if a TLV or the header is too long. `out` is then unchanged.
pub fn encode_v2(
    addresses: Option<(Transport, Addresses)>,
    tlvs: &[Tlv<'_>],
    checksum: bool,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let start = out.len();
    let written = write_v2(addresses, tlvs, checksum, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_v2(
    addresses: Option<(Transport, Addresses)>,
    tlvs: &[Tlv<'_>],
    checksum: bool,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let start = out.len();
    out.extend_from_slice(&v2::SIGNATURE);
    out.extend_from_slice(&[if addresses.is_some() { 0x21 } else { 0x20 }, 0, 0, 0]);
    if let Some((transport, addresses)) = addresses {
        out[start + 13] = write_addresses(addresses, out)
            | match transport {
                Transport::Stream => 0x1,
                Transport::Datagram => 0x2,
            };
    }
    for field in tlvs {
        if !matches!(field, Tlv::Crc32c(_)) {
            field.encode(out)?;
        }
    }
    if checksum {
        Tlv::Crc32c(0).encode(out)?;
    }
    let len = u16::try_from(out.len() - start - v2::FIXED).map_err(|_| TooLong)?;
    out[start + 14..start + v2::FIXED].copy_from_slice(&len.to_be_bytes());
    if checksum {
        let sum = crc32c::finish(crc32c::update(crc32c::START, &out[start..]));
        let at = out.len() - (tlv::HEAD + 4);
        out.truncate(at);
        Tlv::Crc32c(sum).encode(out)?;
    }
    Ok(())
}

/// Appends addresses and ports. Returns the address family bits.
fn write_addresses(addresses: Addresses, out: &mut Vec<u8>) -> u8 {
    let family = match same_family(addresses) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
            0x10
        }
        (source, destination) => {
            out.extend_from_slice(&v6(source).octets());
            out.extend_from_slice(&v6(destination).octets());
            0x20
        }
    };
    for end in [addresses.source, addresses.destination] {
        out.extend_from_slice(&end.port().to_be_bytes());
    }
    family
}

/// Converts both addresses to IPv4 or both to IPv6, because a header has a single address family.
fn same_family(addresses: Addresses) -> (IpAddr, IpAddr) {
    let canonical = |at: SocketAddr| at.ip().to_canonical();
    let (source, destination) = (
        canonical(addresses.source),
        canonical(addresses.destination),
    );
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (v6(source).into(), v6(destination).into())
    }
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
