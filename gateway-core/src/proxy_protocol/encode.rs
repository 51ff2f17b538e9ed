//! Writes headers, for the side that speaks to a backend.
//!
//! Without addresses the header says that the sender's own are the right ones, so that a missing
//! address never stops a connection.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Addresses, Tlv, Transport, crc32c, tlv, v2};

/// Something does not fit the 16 bits of its length.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too long for a PROXY header")]
pub struct TooLong;

/// Appends a version 1 header to `out`; without addresses it says `UNKNOWN`.
pub fn encode_v1(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    const INFALLIBLE: &str = "a Vec takes every write";
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

/// Appends a version 2 header to `out`; without addresses it is `LOCAL`. With `checksum` it ends with
/// a CRC32c; a [`Tlv::Crc32c`] in `tlvs` is left out, whatever its value.
///
/// # Errors
/// The fields do not fit a header; then `out` is as it was.
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

/// Appends addresses and ports, and gives the bits of the family.
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

/// Both addresses as IPv4, or both as IPv6: the format has no room for one of each.
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
