//! Tests of the rules of the specification, and of the stricter rules of this module. Some expected results
//! are recorded from Envoy.

mod tlvs;

use std::net::Ipv4Addr;

use super::Invalid as I;
use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0xDC, 0x04, 0x01, 0xBB];
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

fn v6() -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    bytes[15] = 7;
    bytes[16..20].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    bytes[31] = 1;
    bytes[32..].copy_from_slice(&[0xDC, 0x04, 0x01, 0xBB]);
    bytes
}

fn v2(command: u8, family: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn usual() -> Addresses {
    addresses("203.0.113.7:56324", "192.0.2.1:443")
}

/// Decodes `bytes` followed by a request. Asserts that the header ends before the request.
fn command(bytes: &[u8]) -> Result<Command, Error> {
    let all = [bytes, REQUEST].concat();
    let decoded = decode(&all, DEFAULT_LIMIT)?;
    assert_eq!(decoded.len, bytes.len());
    Ok(decoded.header.command)
}

fn proxied(bytes: &[u8]) -> Option<Addresses> {
    match command(bytes) {
        Ok(Command::Proxy(_, addresses)) => Some(addresses),
        other => panic!("{other:?} for {}", bytes.escape_ascii()),
    }
}

#[track_caller]
fn invalid(bytes: &[u8], reason: Invalid) {
    assert_eq!(
        command(bytes),
        Err(Error::Invalid(reason)),
        "{}",
        bytes.escape_ascii()
    );
}

#[test]
fn pp_01_what_fits_no_signature_is_no_header() {
    let others: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\n\0\r\nQUIT\r\n",
        b"PROXYjunk",
        b"PROXY\t",
        b"PUT / HTTP/1.1\r\n",
        b"proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
        b" PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
        b"\0",
    ];

    for bytes in others {
        assert_eq!(
            command(bytes),
            Err(Error::Absent),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn pp_05_every_beginning_of_a_header_waits_for_more() {
    let headers = [
        b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 ::ffff:203.0.113.7 1:2:3:4:5:6:7:8 0 0\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN what\rever\n\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x00, &[&[0; 7]]),
        v2(0x21, 0x11, &[&V4]),
        v2(0x21, 0x22, &[&v6(), b"\x01\0\x02h2"]),
    ];

    for header in headers {
        for cut in 0..header.len() {
            let Err(Error::Incomplete { needed }) = decode(&header[..cut], DEFAULT_LIMIT) else {
                panic!("{cut} bytes of {}", header.escape_ascii());
            };
            assert!(
                (1..=header.len() - cut).contains(&needed),
                "{cut}: {needed}"
            );
        }
        assert_eq!(decode(&header, DEFAULT_LIMIT).unwrap().len, header.len());
    }
}

#[test]
fn pp_06_the_line_of_version_1_has_one_form() {
    assert_eq!(
        proxied(b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"),
        Some(usual())
    );
    assert_eq!(
        proxied(b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n"),
        Some(addresses("[2001:db8::7]:56324", "[2001:db8::1]:443"))
    );

    invalid(b"PROXY tcp4 203.0.113.7 192.0.2.1 1 2\r\n", I::Protocol);
    invalid(b"PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n", I::Protocol);
    invalid(b"PROXY TCP5 203.0.113.7 192.0.2.1 1 2\r\n", I::Protocol);
    invalid(b"PROXY TCP4\t203.0.113.7 192.0.2.1 1 2\r\n", I::Protocol);
    invalid(b"PROXY  TCP4 203.0.113.7 192.0.2.1 1 2\r\n", I::Protocol);
    invalid(b"PROXY TCP4\r\n", I::Protocol);
    invalid(b"PROXY \r\n", I::Protocol);
    invalid(b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n", I::Address);
    invalid(b"PROXY TCP4 203.0.113.7  192.0.2.1 1 2\r\n", I::Address);
    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1  1 2\r\n", I::Port);
    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1 1  2\r\n", I::Port);
    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1 443\r\n", I::Port);
    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n", I::Port);
    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 \r\n", I::Port);
}

#[test]
fn pp_07_the_line_ends_with_crlf_within_107_bytes() {
    let line = |len: usize| {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(len - 2, b'x');
        [&line[..], b"\r\n"].concat()
    };
    assert_eq!(command(&line(107)), Ok(Command::Local));
    invalid(&line(108), I::TooLong);
    invalid(&line(5000), I::TooLong);
    assert_eq!(
        decode(&line(107)[..106], DEFAULT_LIMIT),
        Err(Error::Incomplete { needed: 1 })
    );
    assert_eq!(
        decode(&line(108)[..106], DEFAULT_LIMIT),
        Err(I::TooLong.into()),
        "the 107th byte cannot be the LF"
    );

    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n", I::Port);
    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\rX", I::LineEnd);
    invalid(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\r\n", I::LineEnd);
    invalid(b"PROXY UNKNOWN\rX\r\n", I::LineEnd);
    invalid(b"PROXY UNKNOWN\n\r\n", I::Protocol);
}

#[test]
fn pp_08_numbers_have_one_form_and_the_right_family() {
    for port in [
        "+80", "-1", "080", "00", "65536", "99999", "http", "", "0x50", "8\0",
    ] {
        for line in [
            format!("PROXY TCP4 203.0.113.7 192.0.2.1 {port} 443\r\n"),
            format!("PROXY TCP4 203.0.113.7 192.0.2.1 443 {port}\r\n"),
        ] {
            invalid(line.as_bytes(), I::Port);
        }
    }
    for ip in [
        "203.0.113.777",
        "203.0.113.07",
        "203.0.113",
        "203.0.113.7.1",
        "2001:db8::7",
        "::ffff:203.0.113.7",
        "+1.0.0.1",
        "0x1.0.0.1",
        "localhost",
        "",
        "203.0.113.7%lo",
    ] {
        invalid(
            format!("PROXY TCP4 {ip} 192.0.2.1 1 2\r\n").as_bytes(),
            I::Address,
        );
        invalid(
            format!("PROXY TCP4 192.0.2.1 {ip} 1 2\r\n").as_bytes(),
            I::Address,
        );
    }
    for ip in [
        "203.0.113.7",
        "fe80::1%eth0",
        "[::1]",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        "12345::",
        ":1",
        "::1.2.3",
        "g::1",
        "",
    ] {
        invalid(
            format!("PROXY TCP6 {ip} 2001:db8::1 1 2\r\n").as_bytes(),
            I::Address,
        );
        invalid(
            format!("PROXY TCP6 2001:db8::1 {ip} 1 2\r\n").as_bytes(),
            I::Address,
        );
    }
    assert_eq!(
        proxied(b"PROXY TCP4 203.0.113.7 192.0.2.1 0 65535\r\n"),
        Some(addresses("203.0.113.7:0", "192.0.2.1:65535"))
    );
}

#[test]
fn what_cannot_become_valid_is_not_waited_for() {
    let hopeless: &[&[u8]] = &[
        b"PROXY X",
        b"PROXY TCP4 256",
        b"PROXY TCP4 1.2.3.4.",
        b"PROXY TCP4 :",
        b"PROXY TCP4 224",
        b"PROXY TCP4 0.0.0.0",
        b"PROXY TCP6 1.",
        b"PROXY TCP6 1:2:3:4:5:6:7:8:",
        b"PROXY TCP6 ff02",
        b"PROXY TCP6 :::",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 65536",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 01",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2\rx",
        b"\r\n\r\n\0\r\nQUIT\n\x31",
        b"\r\n\r\n\0\r\nQUIT\n\x22",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x41",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
    ];

    for bytes in hopeless {
        let result = decode(bytes, DEFAULT_LIMIT);
        assert!(
            matches!(result, Err(Error::Invalid(_))),
            "{result:?} {}",
            bytes.escape_ascii()
        );
        let shorter = decode(&bytes[..bytes.len() - 1], DEFAULT_LIMIT);
        assert!(
            matches!(shorter, Err(Error::Incomplete { .. })),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn pp_09_unknown_keeps_the_real_ends_whatever_follows() {
    for line in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN 203.0.113.7 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWN what ever\r\n",
        b"PROXY UNKNOWN  \r\n",
        b"PROXY UNKNOWN \xff\0\r\r\n",
        b"PROXY UNKNOWN lone\nline\rends\r\n",
    ] {
        assert_eq!(command(line), Ok(Command::Local), "{}", line.escape_ascii());
    }
    invalid(b"PROXY UNKNOWNS\r\n", I::Protocol);
}

#[test]
fn pp_10_only_version_2_and_its_two_commands() {
    for byte in 0..=u8::MAX {
        let header = v2(byte, 0x11, &[&V4]);
        match byte {
            0x20 => assert_eq!(command(&header), Ok(Command::Local)),
            0x21 => assert_eq!(proxied(&header), Some(usual())),
            0x22..=0x2F => invalid(&header, I::Command),
            _ => invalid(&header, I::Version),
        }
    }
}

#[test]
fn pp_11_local_skips_its_body_whatever_it_holds() {
    let no_tlv = b"\x03\0\x04\xff\xff\xff\xff";
    for family in 0..=u8::MAX {
        for body in [&[][..], &[0; 7], &V4, no_tlv, &[0xFF; 300]] {
            let header = v2(0x20, family, &[body]);
            assert_eq!(command(&header), Ok(Command::Local));
            let decoded = decode(&header, DEFAULT_LIMIT).unwrap();
            assert_eq!(decoded.header.tlvs, Tlvs::EMPTY);
        }
    }
}

#[test]
fn pp_12_to_14_only_internet_addresses_are_taken() {
    let body = [1; 216];
    for family in 0..=u8::MAX {
        let header = v2(0x21, family, &[&body[..216]]);
        match family {
            0x11 | 0x12 | 0x21 | 0x22 => {
                // For these families, decoding reaches the TLVs, which are invalid.
                invalid(&header, I::Tlv);
            }
            _ => invalid(&header, I::Protocol),
        }
    }
    invalid(&v2(0x21, 0x00, &[]), I::Protocol);
    assert_eq!(proxied(&v2(0x21, 0x11, &[&V4])), Some(usual()));
    let udp = command(&v2(0x21, 0x12, &[&V4]));
    assert_eq!(udp, Ok(Command::Proxy(Transport::Datagram, usual())));
    for family in [0x21, 0x22] {
        assert_eq!(
            proxied(&v2(0x21, family, &[&v6()])),
            Some(addresses("[2001:db8::7]:56324", "[2001:db8::1]:443"))
        );
    }
}

#[test]
fn pp_15_a_body_too_short_for_its_family_is_invalid_at_once() {
    for len in 0..12 {
        let header = v2(0x21, 0x11, &[&V4[..len]]);
        invalid(&header, I::TooShort);
        assert_eq!(
            decode(&header[..16], DEFAULT_LIMIT),
            Err(I::TooShort.into())
        );
    }
    for len in 0..36 {
        invalid(&v2(0x21, 0x21, &[&v6()[..len]]), I::TooShort);
    }
}

#[test]
fn pp_16_the_length_is_bounded_by_the_caller() {
    let header = |len: u16| {
        let noop = [
            &[4][..],
            &(len - 15).to_be_bytes(),
            &vec![0; usize::from(len) - 15],
        ]
        .concat();
        v2(0x21, 0x11, &[&V4, &noop])
    };

    assert_eq!(decode(&header(4096), 4096).unwrap().len, 16 + 4096);
    assert_eq!(decode(&header(4097), 4096), Err(I::TooLong.into()));
    assert_eq!(decode(&header(4097)[..16], 4096), Err(I::TooLong.into()));
    assert_eq!(
        decode(&header(u16::MAX), u16::MAX).unwrap().len,
        16 + 65_535
    );
    assert_eq!(
        decode(&v2(0x20, 0, &[&[0; 4097]]), 4096),
        Err(I::TooLong.into()),
        "LOCAL as well"
    );
}

#[test]
fn pp_21_without_addresses_the_real_ends_are_told() {
    let mut v1 = Vec::new();
    encode_v1(None, &mut v1);
    assert_eq!(v1, b"PROXY UNKNOWN\r\n");
    assert_eq!(command(&v1), Ok(Command::Local));

    let mut v2 = Vec::new();
    encode_v2(None, &[], false, &mut v2).unwrap();
    assert_eq!(v2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert_eq!(command(&v2), Ok(Command::Local));
}

#[test]
fn pp_22_mapped_addresses_are_ipv4() {
    let mut body = [0; 36];
    body[10..16].copy_from_slice(&[0xFF, 0xFF, 203, 0, 113, 7]);
    body[26..32].copy_from_slice(&[0xFF, 0xFF, 192, 0, 2, 1]);
    body[32..].copy_from_slice(&V4[8..]);

    assert_eq!(proxied(&v2(0x21, 0x21, &[&body])), Some(usual()));
    assert_eq!(
        proxied(b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:c000:201 56324 443\r\n"),
        Some(usual())
    );
}

#[test]
fn pp_23_a_second_header_is_left_to_the_client() {
    let second = v2(0x21, 0x11, &[&V4]);
    for first in [
        second.clone(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n".to_vec(),
    ] {
        let both = [&first[..], &second].concat();
        assert_eq!(decode(&both, DEFAULT_LIMIT).unwrap().len, first.len());
    }
}

#[test]
fn both_ends_are_unicast() {
    for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "239.255.255.255"] {
        let octets = ip.parse::<Ipv4Addr>().unwrap().octets();
        for at in [0, 4] {
            let mut body = V4;
            body[at..at + 4].copy_from_slice(&octets);
            invalid(&v2(0x21, 0x11, &[&body]), I::Address);
        }
        invalid(
            format!("PROXY TCP4 {ip} 192.0.2.1 1 2\r\n").as_bytes(),
            I::Address,
        );
        invalid(
            format!("PROXY TCP4 192.0.2.1 {ip} 1 2\r\n").as_bytes(),
            I::Address,
        );
        invalid(
            format!("PROXY TCP6 ::ffff:{ip} ::1 1 2\r\n").as_bytes(),
            I::Address,
        );
    }
    for ip in ["::", "ff02::1", "ff00::"] {
        let octets = ip.parse::<std::net::Ipv6Addr>().unwrap().octets();
        for at in [0, 16] {
            let mut body = v6();
            body[at..at + 16].copy_from_slice(&octets);
            invalid(&v2(0x21, 0x21, &[&body]), I::Address);
        }
        invalid(
            format!("PROXY TCP6 {ip} ::1 1 2\r\n").as_bytes(),
            I::Address,
        );
    }
    let loopback = b"PROXY TCP4 127.0.0.1 192.0.2.1 1 2\r\n";
    assert_eq!(
        proxied(loopback),
        Some(addresses("127.0.0.1:1", "192.0.2.1:2"))
    );
}
