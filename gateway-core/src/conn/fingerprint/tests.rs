//! Fingerprints of published ClientHellos.

use super::super::client_hello;
use super::*;

const BOTH: FingerprintSettings = FingerprintSettings {
    ja3: true,
    ja4: true,
};

fn listed(numbers: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    with_length(&bytes)
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

/// A ClientHello, split into records of at most `record` bytes.
fn hello(version: u16, suites: &[u16], extensions: &[(u16, Vec<u8>)], record: usize) -> Vec<u8> {
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &with_length(data)].concat())
        .collect();
    let mut body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0],
        &listed(suites),
        &[1, 0],
    ]
    .concat();
    if !extensions.is_empty() {
        body.extend(with_length(&extensions));
    }
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    let records = message.chunks(record);
    records
        .flat_map(|part| [&[22, 3, 1][..], &with_length(part)].concat())
        .collect()
}

/// The ClientHello of Chrome 143, with the extensions in the order that Chrome sent on one connection.
fn chrome(record: usize) -> Vec<u8> {
    let suites = [
        0x3a3a, 4865, 4866, 4867, 49195, 49199, 49196, 49200, 52393, 52392, 49171, 49172, 156, 157,
        47, 53,
    ];
    let kinds = [
        0xdada, 45, 51, 16, 65037, 23, 17613, 0, 11, 10, 43, 65281, 35, 18, 5, 13, 27, 0x4a4a,
    ];
    let signatures = [
        0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
    ];
    let data = |kind: u16| match kind {
        SUPPORTED_GROUPS => listed(&[0x8a8a, 4588, 29, 23, 24]),
        POINT_FORMATS => vec![1, 0],
        SIGNATURE_ALGORITHMS => listed(&signatures),
        SUPPORTED_VERSIONS => vec![6, 0x6a, 0x6a, 3, 4, 3, 3],
        ALPN => with_length(b"\x02h2\x08http/1.1"),
        SERVER_NAME => with_length(b"\x00\x00\x06a.test"),
        _ => Vec::new(),
    };
    let extensions = kinds.map(|kind| (kind, data(kind)));
    hello(771, &suites, &extensions, record)
}

fn of(bytes: &[u8]) -> (String, String) {
    let found = TlsFingerprints::of(bytes, BOTH).unwrap();
    (found.ja3.unwrap().into(), found.ja4.unwrap().into())
}

#[test]
fn a_browser_has_the_published_fingerprints_in_any_records() {
    for record in [7, 100, 1 << 14] {
        let (ja3, ja4) = of(&chrome(record));

        assert_eq!(ja3, "98487aa16281980e7d1120d399efb6a4", "{record}");
        assert_eq!(ja4, "t13d1516h2_8daaf6152771_d8a2da3f94cd", "{record}");
    }
}

/// The cases are the two examples that the authors of JA3 published.
#[test]
fn old_clients_have_the_published_ja3() {
    let named = [
        (SERVER_NAME, with_length(b"\x00\x00\x06a.test")),
        (SUPPORTED_GROUPS, listed(&[23, 24, 25])),
        (POINT_FORMATS, vec![1, 0]),
    ];
    let suites = [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4];
    let (ja3, ja4) = of(&hello(769, &suites, &named, 1 << 14));
    assert_eq!(ja3, "ada70206e40642a3e4461f35503241d5");
    assert!(ja4.starts_with("t10d120300_"), "{ja4}");

    let suites = [4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99];
    let (ja3, ja4) = of(&hello(769, &suites, &[], 1 << 14));
    assert_eq!(ja3, "de350869b8c85de67a350c8d186f11e6");
    assert!(ja4.starts_with("t10i110000_"), "{ja4}");
    assert!(ja4.ends_with("_000000000000"), "{ja4}");
}

#[test]
fn only_configured_fingerprints_are_computed() {
    let ja4 = FingerprintSettings {
        ja4: true,
        ..Default::default()
    };

    let none = TlsFingerprints::of(&chrome(100), FingerprintSettings::default());
    let one = TlsFingerprints::of(&chrome(100), ja4).unwrap();

    assert_eq!(none, None);
    assert_eq!((one.ja3, one.ja4.is_some()), (None, true));
}

#[test]
fn a_protocol_name_gives_its_first_and_last_character() {
    for (name, expected) in [
        (&b""[..], ['0', '0']),
        (b"h2", ['h', '2']),
        (b"http/1.1", ['h', '1']),
        (b"h", ['h', 'h']),
        (b"\xab", ['a', 'b']),
        (b"\xab\xcd", ['a', 'd']),
        (b"0\xab", ['3', 'b']),
    ] {
        assert_eq!(ends(name), expected, "{name:?}");
    }
}

#[test]
fn a_malformed_hello_has_no_fingerprint_and_no_bytes_cause_a_panic() {
    let whole = chrome(1 << 14);
    for at in 0..whole.len() {
        assert_eq!(TlsFingerprints::of(&whole[..at], BOTH), None, "{at}");
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        let _ = TlsFingerprints::of(&changed, BOTH);
    }
    let short = hello(771, &[1], &[(SUPPORTED_GROUPS, vec![0, 9, 1])], 1 << 14);
    assert_eq!(TlsFingerprints::of(&short, BOTH), None);
}

#[tokio::test]
async fn the_bytes_read_for_the_server_name_are_enough() {
    let sent = chrome(50);

    let (bytes, name) = client_hello::read(&mut &sent[..]).await.unwrap();

    assert_eq!(name.as_deref(), Some("a.test"));
    assert_eq!(of(&bytes), of(&sent));
}
