//! Version 1: a line that ends with CRLF, such as `PROXY TCP4 203.0.113.7 192.0.2.1 56324 443`.
//!
//! The line is decoded field by field. To validate an incomplete field, it is completed by each of a few
//! short suffixes. If no suffix yields a valid field, the line is invalid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Command, Decoded, Error, Header, Invalid, Tlvs, Transport, Version};
use crate::unicast::unicast;

/// Signature of version 1.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Maximum length of a line in bytes, including CRLF.
pub(super) const LONGEST: usize = 107;

/// For each protocol, the minimum length of the line after the signature, in bytes. The shortest one is
/// first.
const SHORTEST: [(&[u8], usize); 3] = [
    (b"UNKNOWN", "UNKNOWN\r\n".len()),
    (b"TCP6 ", "TCP6 ::1 ::1 1 1\r\n".len()),
    (b"TCP4 ", "TCP4 1.1.1.1 1.1.1.1 1 1\r\n".len()),
];

/// Reason why a decoding step stopped.
enum Stop {
    /// The line is incomplete. The value is the minimum number of missing bytes.
    Missing(usize),
    Invalid(Invalid),
}

type Step<'a, T> = Result<(T, &'a [u8]), Stop>;

/// Decodes `bytes`, which must start with the signature or be a prefix of it.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded<'static>, Error> {
    let window = &bytes[..bytes.len().min(LONGEST)];
    match line(window) {
        Ok((command, rest)) => Ok(Decoded {
            header: Header {
                version: Version::V1,
                command,
                tlvs: Tlvs::EMPTY,
            },
            len: window.len() - rest.len(),
        }),
        Err(Stop::Missing(needed)) if window.len() + needed > LONGEST => {
            Err(Invalid::TooLong.into())
        }
        Err(Stop::Missing(needed)) => Err(Error::Incomplete { needed }),
        Err(Stop::Invalid(invalid)) => Err(invalid.into()),
    }
}

fn line(window: &[u8]) -> Step<'_, Command> {
    let Some(rest) = window.strip_prefix(SIGNATURE) else {
        return Err(Stop::Missing(
            SIGNATURE.len() + SHORTEST[0].1 - window.len(),
        ));
    };
    if let Some(rest) = rest.strip_prefix(b"TCP4 ") {
        endpoints(rest, &V4)
    } else if let Some(rest) = rest.strip_prefix(b"TCP6 ") {
        endpoints(rest, &V6)
    } else if let Some(rest) = rest.strip_prefix(b"UNKNOWN") {
        unknown(rest)
    } else {
        let mut begun = SHORTEST.iter().filter(|(name, _)| name.starts_with(rest));
        Err(match begun.next() {
            Some((_, shortest)) => Stop::Missing(shortest - rest.len()),
            None => Stop::Invalid(Invalid::Protocol),
        })
    }
}

/// Decodes the rest of an `UNKNOWN` line. All bytes before CRLF are ignored, including a lone CR or LF.
fn unknown(rest: &[u8]) -> Step<'_, Command> {
    match rest {
        [] | [b' ', ..] => {}
        [b'\r'] | [b'\r', b'\n', ..] => {}
        [b'\r', ..] => return Err(Stop::Invalid(Invalid::LineEnd)),
        _ => return Err(Stop::Invalid(Invalid::Protocol)),
    }
    match rest.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => Ok((Command::Local, &rest[end + 2..])),
        None if rest.last() == Some(&b'\r') => Err(Stop::Missing(1)),
        None => Err(Stop::Missing(2)),
    }
}

/// Textual form of an address family.
struct Family {
    decode: fn(&str) -> Option<IpAddr>,
    /// Maximum length of an address in bytes.
    longest: usize,
    /// Minimum length of an address in bytes.
    shortest: usize,
    /// Suffixes that can complete the prefix of an address. The shortest one is first.
    ends: &'static [&'static str],
}

const V4: Family = Family {
    decode: |text| {
        text.parse::<Ipv4Addr>()
            .ok()
            .and_then(|ip| unicast(ip.into()))
    },
    longest: "255.255.255.255".len(),
    shortest: "1.1.1.1".len(),
    ends: &["", "1", ".1", "1.1", ".1.1", "1.1.1", ".1.1.1", "1.1.1.1"],
};

const V6: Family = Family {
    decode: |text| {
        text.parse::<Ipv6Addr>()
            .ok()
            .and_then(|ip| unicast(ip.into()))
    },
    longest: "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len(),
    shortest: "::1".len(),
    ends: &[
        "", "1", ":", "::", ":1", ".1", "::1", "1:1", "1.1", ".1.1", "1.1.1", ".1.1.1",
    ],
};

fn endpoints<'a>(rest: &'a [u8], family: &Family) -> Step<'a, Command> {
    let (ip, port) = (address_field(family), port_field());
    // The last argument is the minimum number of bytes after the field and its delimiter.
    let (source, rest) = ip.decode(rest, b' ', family.shortest + " 1 1\r\n".len())?;
    let (destination, rest) = ip.decode(rest, b' ', "1 1\r\n".len())?;
    let (source_port, rest) = port.decode(rest, b' ', "1\r\n".len())?;
    let (destination_port, rest) = port.decode(rest, b'\r', "\n".len())?;
    let rest = match rest {
        [] => return Err(Stop::Missing(1)),
        [b'\n', rest @ ..] => rest,
        _ => return Err(Stop::Invalid(Invalid::LineEnd)),
    };
    let addresses = Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    };
    Ok((Command::Proxy(Transport::Stream, addresses), rest))
}

/// Format of a field.
struct Field<T> {
    decode: fn(&str) -> Option<T>,
    longest: usize,
    ends: &'static [&'static str],
    invalid: Invalid,
}

fn address_field(family: &Family) -> Field<IpAddr> {
    Field {
        decode: family.decode,
        longest: family.longest,
        ends: family.ends,
        invalid: Invalid::Address,
    }
}

fn port_field() -> Field<u16> {
    Field {
        decode: port,
        longest: "65535".len(),
        ends: &["", "1"],
        invalid: Invalid::Port,
    }
}

impl<T> Field<T> {
    /// Decodes the field up to the delimiter `end`. `after` is the minimum number of bytes after the
    /// delimiter.
    fn decode<'a>(&self, rest: &'a [u8], end: u8, after: usize) -> Step<'a, T> {
        let window = &rest[..rest.len().min(self.longest + 1)];
        let decoded = match window.iter().position(|&byte| byte == end) {
            Some(len) => std::str::from_utf8(&rest[..len])
                .ok()
                .and_then(self.decode)
                .map(|value| (value, &rest[len + 1..])),
            None => match self.shortest_end(rest) {
                Some(end) => return Err(Stop::Missing(end + 1 + after)),
                None => None,
            },
        };
        decoded.ok_or(Stop::Invalid(self.invalid))
    }

    /// Minimum number of bytes that complete the field `begun`. `None` if no suffix completes the field.
    fn shortest_end(&self, begun: &[u8]) -> Option<usize> {
        let mut buffer = [0; 64];
        if begun.len() > self.longest {
            return None;
        }
        buffer[..begun.len()].copy_from_slice(begun);
        let valid = |end: &&&str| {
            let len = begun.len() + end.len();
            buffer[begun.len()..len].copy_from_slice(end.as_bytes());
            std::str::from_utf8(&buffer[..len]).is_ok_and(|text| (self.decode)(text).is_some())
        };
        self.ends.iter().find(valid).map(|end| end.len())
    }
}

/// Decodes a decimal port without sign and without leading zeros. `u16::from_str` would accept `+80` and
/// `080`.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if digits && !leading_zero {
        text.parse().ok()
    } else {
        None
    }
}
