//! Version 2: twelve bytes of signature, four that say what follows, addresses, TLVs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nom::number::complete::{be_u16, be_u32, be_u128};
use nom::{IResult, Parser};

use super::{
    Addresses, Command, Decoded, Error, Header, Invalid, Tlvs, Transport, Version, crc32c, tlv,
    unicast,
};

/// What tells version 2 from everything else. Contains a NUL, which no text protocol sends.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before the addresses.
pub(super) const FIXED: usize = 16;

/// Bytes of two IPv4 addresses and ports.
pub(super) const V4_LEN: usize = 12;
/// Bytes of two IPv6 addresses and ports.
pub(super) const V6_LEN: usize = 36;

/// The address families whose addresses we can use.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

/// What the fixed part says.
enum Body {
    /// Skipped, whatever it holds.
    Local,
    Proxy(Family, Transport),
}

/// Decodes `bytes`, which fit the signature as far as they go.
pub(super) fn decode(bytes: &[u8], limit: u16) -> Result<Decoded<'_>, Error> {
    let body = body(bytes)?;
    if bytes
        .get(14)
        .is_some_and(|&high| high > limit.to_be_bytes()[0])
    {
        return Err(Invalid::TooLong.into());
    }
    let (Some(body), &[_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..]) = (body, bytes)
    else {
        return Err(Error::Incomplete {
            needed: FIXED - bytes.len(),
        });
    };
    let len = u16::from_be_bytes([high, low]);
    if len > limit {
        return Err(Invalid::TooLong.into());
    }
    if let Body::Proxy(family, _) = &body
        && usize::from(len) < family.len()
    {
        return Err(Invalid::TooShort.into());
    }
    let len = FIXED + usize::from(len);
    let Some(block) = bytes.get(..len) else {
        return Err(Error::Incomplete {
            needed: len - bytes.len(),
        });
    };
    let (command, tlvs) = match body {
        Body::Local => (Command::Local, Tlvs::EMPTY),
        Body::Proxy(family, transport) => {
            let (addresses, tlvs) = proxied(block, family)?;
            (Command::Proxy(transport, addresses), tlvs)
        }
    };
    let header = Header {
        version: Version::V2,
        command,
        tlvs,
    };
    Ok(Decoded { header, len })
}

/// Checks each byte of version, command, family and protocol as soon as it is there; `None` until
/// they all are.
fn body(bytes: &[u8]) -> Result<Option<Body>, Invalid> {
    let local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(byte) if byte >> 4 == 2 => return Err(Invalid::Command),
        Some(_) => return Err(Invalid::Version),
    };
    Ok(match bytes.get(13) {
        None => None,
        Some(_) if local => Some(Body::Local),
        Some(0x11) => Some(Body::Proxy(Family::V4, Transport::Stream)),
        Some(0x12) => Some(Body::Proxy(Family::V4, Transport::Datagram)),
        Some(0x21) => Some(Body::Proxy(Family::V6, Transport::Stream)),
        Some(0x22) => Some(Body::Proxy(Family::V6, Transport::Datagram)),
        Some(_) => return Err(Invalid::Protocol),
    })
}

impl Family {
    fn len(self) -> usize {
        match self {
            Self::V4 => V4_LEN,
            Self::V6 => V6_LEN,
        }
    }
}

/// The addresses and TLVs of a whole header.
fn proxied(block: &[u8], family: Family) -> Result<(Addresses, Tlvs<'_>), Invalid> {
    let (addresses, tlvs) = block[FIXED..].split_at(family.len());
    let addresses = match family {
        Family::V4 => pair(addresses, |input| {
            be_u32
                .map(|bits| Ipv4Addr::from_bits(bits).into())
                .parse(input)
        }),
        Family::V6 => pair(addresses, |input| {
            be_u128
                .map(|bits| Ipv6Addr::from_bits(bits).into())
                .parse(input)
        }),
    };
    let tlvs = Tlvs::decode(tlvs)?;
    check(block, tlvs)?;
    let (_, addresses) = addresses.map_err(|_| Invalid::TooShort)?;
    let unicast = |at: SocketAddr| Some(SocketAddr::new(unicast(at.ip())?, at.port()));
    match (unicast(addresses.source), unicast(addresses.destination)) {
        (Some(source), Some(destination)) => Ok((
            Addresses {
                source,
                destination,
            },
            tlvs,
        )),
        _ => Err(Invalid::Address),
    }
}

/// Two addresses and two ports.
fn pair<'a>(
    input: &'a [u8],
    ip: impl Fn(&'a [u8]) -> IResult<&'a [u8], IpAddr, ()> + Copy,
) -> IResult<&'a [u8], Addresses, ()> {
    (ip, ip, be_u16, be_u16)
        .map(|(source, destination, from, to)| Addresses {
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        })
        .parse(input)
}

/// Verifies the checksum, if there is one.
fn check(block: &[u8], tlvs: Tlvs<'_>) -> Result<(), Invalid> {
    let mut at = block.len() - tlvs.as_bytes().len();
    let mut checked = false;
    for (kind, value) in tlvs.raw() {
        let end = at + tlv::HEAD + value.len();
        if kind == tlv::CRC32C {
            if checked {
                return Err(Invalid::Tlv);
            }
            checked = true;
            let sum = crc32c::update(crc32c::START, &block[..at + tlv::HEAD]);
            let sum = crc32c::update(sum, &[0; 4]);
            let sum = crc32c::finish(crc32c::update(sum, &block[end..]));
            if value != sum.to_be_bytes() {
                return Err(Invalid::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}
