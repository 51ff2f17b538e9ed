//! Version 2: a signature of 12 bytes, 4 bytes for version, command, family and length, then addresses and
//! TLVs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nom::number::complete::{be_u16, be_u32, be_u128};
use nom::{IResult, Parser};

use super::{
    Addresses, Command, Decoded, Error, Header, Invalid, Tlvs, Transport, Version, crc32c, tlv,
};
use crate::unicast::unicast;

/// Signature of version 2. It contains a NUL byte, which does not occur in text protocols.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Length of the fixed part, before the addresses, in bytes.
pub(super) const FIXED: usize = 16;

/// Supported address families.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

/// Kind of the body, as the fixed part states it.
enum Body {
    /// Body of `LOCAL`. It is skipped without decoding.
    Local,
    Proxy(Family, Transport),
}

/// Decodes `bytes`, which must start with the signature or be a prefix of it.
pub(super) fn decode(bytes: &[u8], limit: u16) -> Result<Decoded<'_>, Error> {
    let Some((body, len)) = fixed(bytes, limit)? else {
        let needed = FIXED - bytes.len();
        return Err(Error::Incomplete { needed });
    };
    let len = FIXED + len;
    let Some(block) = bytes.get(..len) else {
        let needed = len - bytes.len();
        return Err(Error::Incomplete { needed });
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

/// Decodes the fixed part: the kind of the body and its length in bytes. Each byte is checked as soon as it
/// has been received. `None` if the fixed part is incomplete.
fn fixed(bytes: &[u8], limit: u16) -> Result<Option<(Body, usize)>, Invalid> {
    let [limit_high, _] = limit.to_be_bytes();
    let (high, low) = (bytes.get(14), bytes.get(15));
    match (body(bytes)?, high, low) {
        (_, Some(high), _) if *high > limit_high => Err(Invalid::TooLong),
        (Some(body), Some(&high), Some(&low)) => {
            let len = u16::from_be_bytes([high, low]);
            if len > limit {
                return Err(Invalid::TooLong);
            }
            match body {
                Body::Proxy(family, _) if usize::from(len) < family.len() => Err(Invalid::TooShort),
                Body::Proxy(..) | Body::Local => Ok(Some((body, len.into()))),
            }
        }
        _ => Ok(None),
    }
}

/// Decodes version, command, family and protocol. `None` if these bytes are incomplete.
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
    /// Length of two addresses and two ports in bytes.
    fn len(self) -> usize {
        match self {
            Self::V4 => 12,
            Self::V6 => 36,
        }
    }
}

/// Decodes addresses and TLVs of a complete header and verifies its checksum.
fn proxied(block: &[u8], family: Family) -> Result<(Addresses, Tlvs<'_>), Invalid> {
    let body = &block[FIXED..];
    let pair = match family {
        Family::V4 => pair(body, |input| {
            be_u32
                .map(|bits| Ipv4Addr::from_bits(bits).into())
                .parse(input)
        }),
        Family::V6 => pair(body, |input| {
            be_u128
                .map(|bits| Ipv6Addr::from_bits(bits).into())
                .parse(input)
        }),
    };
    let (rest, (source, destination)) = pair.map_err(|_| Invalid::TooShort)?;
    let tlvs = Tlvs::decode(rest)?;
    check(block, tlvs)?;
    let usable = |at: SocketAddr| match unicast(at.ip()) {
        Some(ip) => Ok(SocketAddr::new(ip, at.port())),
        None => Err(Invalid::Address),
    };
    let addresses = Addresses {
        source: usable(source)?,
        destination: usable(destination)?,
    };
    Ok((addresses, tlvs))
}

/// Decodes two addresses, then their ports.
fn pair<'a>(
    input: &'a [u8],
    ip: impl Fn(&'a [u8]) -> IResult<&'a [u8], IpAddr, ()> + Copy,
) -> IResult<&'a [u8], (SocketAddr, SocketAddr), ()> {
    (ip, ip, be_u16, be_u16)
        .map(|(a, b, from, to)| (SocketAddr::new(a, from), SocketAddr::new(b, to)))
        .parse(input)
}

/// Verifies the CRC32c checksum if it is present.
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
