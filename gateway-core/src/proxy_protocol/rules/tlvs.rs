//! Tests of TLV rules.

use super::*;

#[test]
fn pp_17_a_cut_tlv_is_invalid_and_what_follows_the_header_is_no_tlv() {
    for tlvs in [
        &b"\x01"[..],
        b"\x01\0",
        b"\x01\0\x01",
        b"\x01\0\x02h",
        b"\x01\0\x02h2\0",
        b"\x04\xff\xff",
        b"\0",
        b"\0\0",
    ] {
        invalid(&v2(0x21, 0x11, &[&V4, tlvs]), I::Tlv);
    }
    let header = [&v2(0x21, 0x11, &[&V4])[..], b"\x01\xff"].concat();
    let decoded = decode(&header, DEFAULT_LIMIT).unwrap();
    assert_eq!(decoded.len, header.len() - 2);
    assert_eq!(decoded.header.tlvs.iter().count(), 0);
}

#[test]
fn pp_18_a_checksum_must_be_right() {
    let mut header = Vec::new();
    let tlvs = [Tlv::Alpn(b"h2")];
    encode_v2(Some((Transport::Stream, usual())), &tlvs, true, &mut header).unwrap();
    assert_eq!(proxied(&header), Some(usual()));

    for bit in 0..header.len() * 8 {
        let mut flipped = header.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let result = decode(&flipped, DEFAULT_LIMIT);
        // Two bytes are excluded. In byte 12, a changed bit can result in the command LOCAL, for which the
        // body is skipped. Byte 33 is the type of the checksum.
        if bit / 8 != 12 && bit / 8 != 33 {
            assert!(result.is_err(), "bit {bit}: {result:?}");
        }
    }

    // The checksum covers the TLVs before and after the checksum TLV. For the calculation, the value of the
    // checksum TLV is replaced by zeros.
    let tlvs = b"\x01\0\x02h2\x03\0\x04\0\0\0\0\x02\0\x06a.test";
    let mut around = v2(0x21, 0x11, &[&V4, tlvs]);
    let sum = crc32c::finish(crc32c::update(crc32c::START, &around));
    around[36..40].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(proxied(&around), Some(usual()));
    around[46] ^= 1;
    invalid(&around, I::Checksum);

    invalid(&v2(0x21, 0x11, &[&V4, b"\x03\0\x03\0\0\0"]), I::Tlv);
    invalid(&v2(0x21, 0x11, &[&V4, b"\x03\0\x05\0\0\0\0\0"]), I::Tlv);
    invalid(&v2(0x21, 0x11, &[&V4, b"\x03\0\0"]), I::Tlv);
}

#[test]
fn two_checksums_are_one_too_many() {
    let mut header = v2(0x21, 0x11, &[&V4, b"\x03\0\x04\0\0\0\0\x03\0\x04\0\0\0\0"]);
    let sum = crc32c::finish(crc32c::update(crc32c::START, &header));
    header[31..35].copy_from_slice(&sum.to_be_bytes());

    invalid(&header, I::Tlv);
}

#[test]
fn pp_19_known_types_have_their_values() {
    let ssl = b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x01x\x23\0\x01c\x24\0\x01s\x25\0\x01k\x26\0\x01g\x27\0\x01t\x28\0\x01d\x99\0\0";
    let tlvs = [
        &b"\x01\0\x02h2\x02\0\x06a.test\x04\0\x02\0\0\x05\0\x02id"[..],
        &[0x20, 0, ssl.len() as u8],
        ssl,
        b"\x30\0\x02ns\xea\0\x05\x01vpce\xee\0\x05\x01\x01\0\0\0\xe0\0\x08\0\0\0\0\0\0\0\x09",
        b"\xea\0\0\xea\0\x02\x02x\xee\0\x04\x01\0\0\0\xe0\0\x01x\xf7\0\0\x99\0\x01y",
    ]
    .concat();
    let header = v2(0x21, 0x11, &[&V4, &tlvs]);

    let decoded = decode(&header, DEFAULT_LIMIT).unwrap();
    let all: Vec<_> = decoded.header.tlvs.into_iter().collect();

    let expected_ssl = Ssl {
        client: 7,
        verify: 0,
        fields: SslFields::decode(&ssl[5..]).unwrap(),
    };
    let expected = [
        Tlv::Alpn(b"h2"),
        Tlv::Authority(b"a.test"),
        Tlv::Noop(&[0, 0]),
        Tlv::UniqueId(b"id"),
        Tlv::Ssl(expected_ssl),
        Tlv::Netns(b"ns"),
        Tlv::AwsVpcEndpoint(b"vpce"),
        Tlv::AzureLinkId(1),
        Tlv::GcpConnectionId(9),
        Tlv::Other(0xEA, b""),
        Tlv::Other(0xEA, b"\x02x"),
        Tlv::Other(0xEE, b"\x01\0\0\0"),
        Tlv::Other(0xE0, b"x"),
        Tlv::Other(0xF7, b""),
        Tlv::Other(0x99, b"y"),
    ];
    assert_eq!(all, expected);
    let fields: Vec<_> = expected_ssl.fields.iter().collect();
    let expected = [
        SslField::Version(b"TLSv1.3"),
        SslField::CommonName(b"x"),
        SslField::Cipher(b"c"),
        SslField::SignatureAlgorithm(b"s"),
        SslField::KeyAlgorithm(b"k"),
        SslField::Group(b"g"),
        SslField::SignatureScheme(b"t"),
        SslField::ClientCertificate(b"d"),
        SslField::Other(0x99, b""),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn pp_19_impossible_lengths_are_invalid() {
    let id = |len: u8| [&[5, 0, len][..], &vec![b'x'; usize::from(len)]].concat();
    assert_eq!(proxied(&v2(0x21, 0x11, &[&V4, &id(0)])), Some(usual()));
    assert_eq!(proxied(&v2(0x21, 0x11, &[&V4, &id(128)])), Some(usual()));
    invalid(&v2(0x21, 0x11, &[&V4, &id(129)]), I::Tlv);

    for ssl in [
        &b"\x20\0\0"[..],
        b"\x20\0\x04\0\0\0\0",
        b"\x20\0\x06\0\0\0\0\0\x21",
        b"\x20\0\x08\0\0\0\0\0\x21\0\x01",
    ] {
        invalid(&v2(0x21, 0x11, &[&V4, ssl]), I::Tlv);
    }
}

#[test]
fn tls_of_a_client_is_verified_only_with_a_certificate() {
    let ssl = |client, verify| Ssl {
        client,
        verify,
        fields: SslFields::decode(b"").unwrap(),
    };

    assert!(!ssl(0, 0).is_tls() && !ssl(0, 0).is_verified());
    assert!(ssl(1, 0).is_tls() && !ssl(1, 0).is_verified());
    assert!(ssl(3, 0).is_verified() && ssl(5, 0).is_verified());
    assert!(!ssl(3, 1).is_verified());
}
