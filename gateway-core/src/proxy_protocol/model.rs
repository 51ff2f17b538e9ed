//! A slow reference decoder for complete headers. Property tests compare [`decode`] with it.

use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::unicast::unicast;

/// Result of the reference decoder. Errors have no reason.
#[derive(Debug, PartialEq)]
enum Reading {
    Header(Command, Vec<(u8, Vec<u8>)>, usize),
    Broken,
    Absent,
    /// Incomplete. The reference decoder does not check whether further bytes can complete the header.
    Unfinished,
}

fn read(bytes: &[u8], limit: u16) -> Reading {
    let starts = |signature: &[u8]| {
        signature
            .iter()
            .zip(bytes)
            .all(|(a, b)| a == b)
            .then_some(bytes.len() < signature.len())
    };
    match (starts(b"PROXY "), starts(&v2::SIGNATURE)) {
        (Some(false), _) => read_v1(bytes),
        (_, Some(false)) => read_v2(bytes, limit),
        (None, None) => Reading::Absent,
        _ => Reading::Unfinished,
    }
}

fn read_v1(bytes: &[u8]) -> Reading {
    let window = &bytes[..bytes.len().min(107)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= 107 {
            Reading::Broken
        } else {
            Reading::Unfinished
        };
    };
    let fields: Vec<&[u8]> = window[..end].split(|byte| *byte == b' ').collect();
    let command = match fields[..] {
        [_, b"UNKNOWN", ..] => Some(Command::Local),
        [_, b"TCP4", a, b, c, d] => proxied::<Ipv4Addr>(a, b, c, d),
        [_, b"TCP6", a, b, c, d] => proxied::<std::net::Ipv6Addr>(a, b, c, d),
        _ => None,
    };
    command.map_or(Reading::Broken, |command| {
        Reading::Header(command, vec![], end + 2)
    })
}

fn proxied<Ip: std::str::FromStr + Into<IpAddr>>(
    source: &[u8],
    destination: &[u8],
    from: &[u8],
    to: &[u8],
) -> Option<Command> {
    let ip = |text: &[u8]| -> Option<IpAddr> {
        Some(std::str::from_utf8(text).ok()?.parse::<Ip>().ok()?.into())
    };
    let port = |text: &[u8]| {
        let text = std::str::from_utf8(text).ok()?;
        text.parse()
            .ok()
            .filter(|port: &u16| port.to_string() == text)
    };
    ends(
        ip(source)?,
        ip(destination)?,
        port(from)?,
        port(to)?,
        Transport::Stream,
    )
}

fn ends(
    source: IpAddr,
    destination: IpAddr,
    from: u16,
    to: u16,
    how: Transport,
) -> Option<Command> {
    let usual = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    let addresses = Addresses {
        source: SocketAddr::new(source.to_canonical(), from),
        destination: SocketAddr::new(destination.to_canonical(), to),
    };
    (usual(source) && usual(destination)).then_some(Command::Proxy(how, addresses))
}

fn read_v2(bytes: &[u8], limit: u16) -> Reading {
    if bytes.len() < 16 {
        return Reading::Unfinished;
    }
    let len = usize::from(bytes[14]) * 256 + usize::from(bytes[15]);
    if bytes[12] >> 4 != 2 || bytes[12] & 0xF > 1 || len > usize::from(limit) {
        return Reading::Broken;
    }
    if bytes.len() < 16 + len {
        return Reading::Unfinished;
    }
    if bytes[12] & 0xF == 0 {
        return Reading::Header(Command::Local, vec![], 16 + len);
    }
    let body = &bytes[16..16 + len];
    whole_v2(bytes, body).map_or(Reading::Broken, |(command, tlvs)| {
        Reading::Header(command, tlvs, 16 + len)
    })
}

type Fields = Vec<(u8, Vec<u8>)>;

fn whole_v2(bytes: &[u8], body: &[u8]) -> Option<(Command, Fields)> {
    let how = match bytes[13] & 0xF {
        1 => Transport::Stream,
        2 => Transport::Datagram,
        _ => return None,
    };
    let width = match bytes[13] >> 4 {
        1 => 4,
        2 => 16,
        _ => return None,
    };
    let ip = |at: usize| -> Option<IpAddr> {
        let octets = body.get(at * width..(at + 1) * width)?;
        Some(match width {
            4 => <[u8; 4]>::try_from(octets).ok()?.into(),
            _ => <[u8; 16]>::try_from(octets).ok()?.into(),
        })
    };
    let port = |at: usize| {
        let at = 2 * width + 2 * at;
        Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?))
    };
    let command = ends(ip(0)?, ip(1)?, port(0)?, port(1)?, how)?;
    let tlvs = fields(&body[2 * width + 4..])?;
    let good = tlvs.iter().all(|(kind, value)| match kind {
        3 => value.len() == 4,
        5 => value.len() <= 128,
        0x20 => value.len() >= 5 && fields(&value[5..]).is_some(),
        _ => true,
    });
    let sums: Vec<_> = tlvs.iter().filter(|(kind, _)| *kind == 3).collect();
    let sum_matches = || match sums[..] {
        [] => true,
        [(_, sum)] => sum[..] == slow_crc32c(bytes, body, 2 * width + 4).to_be_bytes(),
        _ => false,
    };
    (good && sum_matches()).then_some((command, tlvs))
}

fn fields(mut bytes: &[u8]) -> Option<Fields> {
    let mut all = vec![];
    while !bytes.is_empty() {
        let len = usize::from(*bytes.get(1)?) * 256 + usize::from(*bytes.get(2)?);
        all.push((bytes[0], bytes.get(3..3 + len)?.to_vec()));
        bytes = &bytes[3 + len..];
    }
    Some(all)
}

/// Bitwise CRC-32C of a copy of the header in which the checksum is zeroed.
fn slow_crc32c(bytes: &[u8], body: &[u8], mut at: usize) -> u32 {
    let mut copy = bytes[..16 + body.len()].to_vec();
    while body[at] != 3 {
        at += 3 + usize::from(body[at + 1]) * 256 + usize::from(body[at + 2]);
    }
    copy[16 + at + 3..16 + at + 7].fill(0);
    let mut register = u32::MAX;
    for byte in copy {
        register ^= u32::from(byte);
        for _ in 0..8 {
            register = register >> 1 ^ if register & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    !register
}

/// Valid headers. A suffix of such a header can complete an incomplete header.
fn templates(begun: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![b"PROXY UNKNOWN\r\n".to_vec()];
    all.push(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec());
    let v6 = ["::1", "1::1", "1::", "1:1:1:1:1:1:1:1", "::1.1.1.1"];
    for (source, destination) in v6.iter().flat_map(|a| v6.map(|b| (a, b))) {
        all.push(format!("PROXY TCP6 {source} {destination} 1 1\r\n").into());
    }
    let filled = |command: u8, family: u8, len: u16| {
        let mut header = v2::SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(len.to_be_bytes());
        let addresses = usize::from(len).min(if family >> 4 == 1 { 12 } else { 36 });
        header.extend(vec![1; addresses]);
        if let Some(rest) = usize::from(len).checked_sub(addresses + 3) {
            header.push(4);
            header.extend((rest as u16).to_be_bytes());
            header.extend(vec![0; rest]);
        }
        header
    };
    let high = begun.get(14).map_or(0, |&high| u16::from(high) << 8);
    for (command, family, len) in [(0x20, 0, 0), (0x21, 0x11, 12), (0x21, 0x21, 36)] {
        all.push(filled(command, family, if high > 0 { high } else { len }));
    }
    all
}

/// Minimum number of bytes that complete `begun` to a valid header. Only suffixes of the templates are tried.
fn completion(begun: &[u8], limit: u16) -> Option<usize> {
    let mut ends: Vec<Vec<u8>> = Vec::new();
    for whole in templates(begun) {
        // A line may be completed by any suffix of a line. A binary header is completed by the bytes that
        // have the same position in the template.
        let line = whole.starts_with(b"P") && begun.starts_with(b"P");
        let cuts = if line {
            0..whole.len()
        } else {
            begun.len()..begun.len() + 1
        };
        ends.extend(cuts.filter_map(|cut| whole.get(cut..).map(<[u8]>::to_vec)));
    }
    ends.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    ends.dedup();
    ends.iter()
        .find(|end| matches!(read(&[begun, end].concat(), limit), Reading::Header(..)))
        .map(Vec::len)
}

fn check(bytes: &[u8], limit: u16) -> Result<(), TestCaseError> {
    let expected = read(bytes, limit);
    match decode(bytes, limit) {
        Ok(Decoded { header, len }) => {
            let tlvs = header
                .tlvs
                .raw()
                .map(|(kind, value)| (kind, value.to_vec()))
                .collect();
            prop_assert_eq!(Reading::Header(header.command, tlvs, len), expected);
            prop_assert_eq!(header.tlvs.iter().count(), header.tlvs.raw().count());
        }
        Err(Error::Absent) => prop_assert_eq!(expected, Reading::Absent),
        Err(Error::Invalid(_)) if expected == Reading::Unfinished => {
            prop_assert_eq!(completion(bytes, limit), None, "{}", bytes.escape_ascii());
        }
        Err(Error::Invalid(_)) => prop_assert_eq!(expected, Reading::Broken),
        Err(Error::Incomplete { needed }) => {
            prop_assert_eq!(expected, Reading::Unfinished);
            if bytes.len() >= 16 && bytes[0] == b'\r' {
                let len = u16::from_be_bytes([bytes[14], bytes[15]]);
                prop_assert_eq!(bytes.len() + needed, 16 + usize::from(len));
            } else {
                let fewest = completion(bytes, limit);
                prop_assert!(needed > 0 && fewest.is_some_and(|fewest| needed <= fewest));
                if bytes.starts_with(b"P") {
                    prop_assert_eq!(Some(needed), fewest, "{}", bytes.escape_ascii());
                }
            }
        }
    }
    Ok(())
}

/// Version 1 lines, valid and invalid.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let ip = prop_oneof![
        3 => any::<[u8; 4]>().prop_map(|octets| IpAddr::from(octets).to_string()),
        3 => any::<[u16; 8]>().prop_map(|words| IpAddr::from(words).to_string()),
        2 => select(vec!["::", "::1", "ff02::1", "224.1.1.1", "0.0.0.0", "::ffff:1.2.3.4", "1::2:3", "::ffff:e000:1"])
            .prop_map(String::from),
        1 => "[0-9a-f:.]{0,20}",
    ];
    let port = prop_oneof![
        4 => any::<u16>().prop_map(|port| port.to_string()),
        1 => "[+0-9]{0,6}",
    ];
    let protocol = select(vec![
        "TCP4",
        "TCP4",
        "TCP6",
        "TCP6",
        "UNKNOWN",
        "UNKNOWN what",
        "TCP",
        "UDP4",
    ]);
    let end = select(vec![
        "\r\n", "\r\n", "\r\n", "\n", "\r", "", " \r\n", "\r\nGET",
    ]);
    (protocol, ip.clone(), ip, port.clone(), port, end).prop_map(|(protocol, a, b, c, d, end)| {
        format!("PROXY {protocol} {a} {b} {c} {d}{end}").into_bytes()
    })
}

/// Version 2 headers, valid and invalid.
fn any_binary() -> impl Strategy<Value = Vec<u8>> {
    let command = select(vec![0x20, 0x21, 0x21, 0x21, 0x21, 0x22, 0x31]);
    let family = select(vec![0x00, 0x11, 0x11, 0x12, 0x21, 0x21, 0x22, 0x31, 0x13]);
    let tlv = (
        select(vec![1, 2, 3, 4, 5, 0x20, 0x30, 0xE0, 0xEA, 0xEE, 0xFF]),
        vec(any::<u8>(), 0..12),
    );
    let slack = select(vec![0, 0, 0, 0, 1, 2, 300]);
    (command, family, vec(any::<u8>(), 36), vec(tlv, 0..4), slack).prop_map(
        |(command, family, addresses, tlvs, slack)| {
            let mut body = addresses;
            body.truncate(if family >> 4 == 2 { 36 } else { 12 });
            for (kind, value) in tlvs {
                encode_tlv(kind, &[&value], &mut body).unwrap();
            }
            let mut header = v2::SIGNATURE.to_vec();
            header.extend([command, family]);
            header.extend((body.len() as u16 + slack).to_be_bytes());
            header.extend(body);
            header
        },
    )
}

/// Changes `bytes`: replaces at most one byte, and possibly truncates the end.
fn damaged(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![Just(1.0), 0.0..1.0];
    (bytes, any::<Option<(prop::sample::Index, u8)>>(), part).prop_map(
        |(mut bytes, change, part)| {
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate((bytes.len() as f64 * part) as usize);
            bytes
        },
    )
}

fn any_addresses() -> impl Strategy<Value = Addresses> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
    .prop_filter_map("unicast", unicast);
    (ip.clone(), ip, any::<u16>(), any::<u16>()).prop_map(|(source, destination, from, to)| {
        Addresses {
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        }
    })
}

fn any_tlvs() -> impl Strategy<Value = Vec<Tlv<'static>>> {
    let fields = SslFields::decode(b"\x21\0\x07TLSv1.3\x28\0\x01x").unwrap();
    let tlv = prop_oneof![
        Just(Tlv::Alpn(b"h2")),
        Just(Tlv::Authority(b"a.test")),
        Just(Tlv::Noop(&[0; 9])),
        Just(Tlv::UniqueId(&[7; 128])),
        Just(Tlv::Netns(b"ns")),
        Just(Tlv::AwsVpcEndpoint(b"vpce-1")),
        any::<u32>().prop_map(Tlv::AzureLinkId),
        any::<u64>().prop_map(Tlv::GcpConnectionId),
        (any::<u8>(), any::<u32>()).prop_map(move |(client, verify)| Tlv::Ssl(Ssl {
            client,
            verify,
            fields
        })),
        (0xF0..0xF8_u8).prop_map(|kind| Tlv::Other(kind, b"what")),
    ];
    vec(tlv, 0..6)
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_as_the_model_does(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..64),
            damaged(any_line()),
            damaged(any_binary()),
        ],
    ) {
        check(&bytes, DEFAULT_LIMIT)?;
    }

    #[test]
    fn version_1_round_trips(addresses in any_addresses(), tail in vec(any::<u8>(), 0..20)) {
        let mut bytes = Vec::new();
        encode_v1(Some(addresses), &mut bytes);
        let len = bytes.len();
        bytes.extend(tail);

        let decoded = decode(&bytes, DEFAULT_LIMIT).unwrap();

        prop_assert_eq!(decoded.len, len);
        prop_assert_eq!(decoded.header.addresses(), Some(addresses));
    }

    #[test]
    fn version_2_round_trips(
        addresses in any_addresses(),
        transport in select(vec![Transport::Stream, Transport::Datagram]),
        tlvs in any_tlvs(),
        checksum in any::<bool>(),
        tail in vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        encode_v2(Some((transport, addresses)), &tlvs, checksum, &mut bytes).unwrap();
        let len = bytes.len();
        bytes.extend(tail);

        let decoded = decode(&bytes, DEFAULT_LIMIT).unwrap();

        prop_assert_eq!(decoded.len, len);
        prop_assert_eq!(decoded.header.command, Command::Proxy(transport, addresses));
        let mut found: Vec<_> = decoded.header.tlvs.into_iter().collect();
        if checksum {
            prop_assert!(matches!(found.pop(), Some(Tlv::Crc32c(_))));
        }
        prop_assert_eq!(found, tlvs);
    }

    /// A prefix of a header is incomplete, or its result is of the same kind as the result of the whole
    /// header.
    #[test]
    fn no_cut_changes_the_answer(
        bytes in prop_oneof![damaged(any_line()), damaged(any_binary())],
    ) {
        let whole = decode(&bytes, DEFAULT_LIMIT);
        for cut in 0..bytes.len() {
            match decode(&bytes[..cut], DEFAULT_LIMIT) {
                Err(Error::Incomplete { needed }) => match whole {
                    Ok(Decoded { len, .. }) => prop_assert!(cut + needed <= len),
                    Err(Error::Absent | Error::Incomplete { .. } | Error::Invalid(_)) => {}
                },
                Err(Error::Invalid(_)) => {
                    prop_assert!(matches!(whole, Err(Error::Invalid(_))), "{} {:?}", cut, whole);
                }
                part => prop_assert_eq!(part, whole, "{}", cut),
            }
        }
    }
}

#[test]
fn a_header_that_does_not_fit_leaves_nothing_behind() {
    let mut out = b"before".to_vec();
    let huge = vec![0; 65_535];

    for tlvs in [&[Tlv::Noop(&huge)][..], &[Tlv::UniqueId(&huge[..129])]] {
        assert_eq!(encode_v2(None, tlvs, true, &mut out), Err(TooLong));
    }

    assert_eq!(out, b"before");
}
