//! Tests with ClientHellos from rustls and from a minimal encoder, and with malformed ClientHellos.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// A ClientHello that rustls encodes.
fn hello_of_rustls(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(towergate_tls::default_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

fn server_name_extension(name: &[u8]) -> Vec<u8> {
    let name = [&[HOST_NAME][..], &with_length(name)].concat();
    [&[0, 0][..], &with_length(&with_length(&name))].concat()
}

/// A handshake message with these extensions.
fn message_with(session: &[u8], suites: &[u8], extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[7; 32], &[session.len() as u8], session].concat();
    body.extend(with_length(suites));
    body.extend([1, 0]);
    if let Some(extensions) = extensions {
        body.extend(with_length(extensions));
    }
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO][..], &length[1..], &body].concat()
}

/// Splits the message into records at the given offsets.
fn in_records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| 1 + cut % message.len()).collect();
    cuts.push(message.len());
    cuts.sort_unstable();
    cuts.dedup();
    let mut start = 0;
    let mut bytes = Vec::new();
    for end in cuts {
        bytes.extend([HANDSHAKE, 3, 1]);
        bytes.extend(with_length(&message[start..end]));
        start = end;
    }
    bytes
}

fn simple(extensions: &[u8]) -> Vec<u8> {
    in_records(&message_with(&[], &[0x13, 1], Some(extensions)), &[])
}

#[test]
fn the_server_name_of_rustls_is_found() {
    let hello = hello_of_rustls("a.Example.com");

    assert_eq!(server_name(&hello), Ok(Some("a.example.com".to_owned())));
    for length in 0..hello.len() {
        assert_eq!(server_name(&hello[..length]), Err(Partial), "{length}");
    }
    assert_eq!(server_name(&hello_of_rustls("192.0.2.1")), Ok(None));
}

#[test]
fn a_client_hello_without_extensions_has_no_name() {
    let hello = in_records(&message_with(&[1; 32], &[0, 5], None), &[]);

    assert_eq!(server_name(&hello), Ok(None));
    assert_eq!(server_name(&simple(&[])), Ok(None));
}

#[test]
fn ambiguous_encodings_are_rejected() {
    let one = server_name_extension(b"one.test");
    let two = server_name_extension(b"two.test");
    let list = [
        &[0][..],
        &with_length(b"one.test"),
        &[0],
        &with_length(b"two.test"),
    ]
    .concat();
    let both = [&[0, 0][..], &with_length(&with_length(&list))].concat();
    let empty = server_name_extension(b"");
    let no_list = [0, 0, 0, 0];
    let other_kind = [&[0, 0][..], &with_length(&with_length(&[1, 0, 1, b'x']))].concat();
    let no_text = server_name_extension(b"\xff\xfe");
    for extensions in [
        [&one[..], &two].concat(),
        both,
        empty,
        no_list.to_vec(),
        other_kind,
        no_text,
        one[..one.len() - 1].to_vec(),
        [&one[..], &[0]].concat(),
    ] {
        assert_eq!(
            server_name(&simple(&extensions)),
            Err(Malformed),
            "{extensions:?}"
        );
    }
}

#[test]
fn other_messages_are_rejected_at_once() {
    let huge = [HANDSHAKE, 3, 1, 0x40, 0, CLIENT_HELLO, 1, 0, 0];
    let cases: [&[u8]; 6] = [
        b"GET / HTTP/1.1",
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x10\x02",
        &huge,
    ];
    for bytes in cases {
        assert_eq!(server_name(bytes), Err(Malformed), "{bytes:?}");
    }
}

#[tokio::test]
async fn bytes_after_the_client_hello_are_kept() {
    let mut sent = hello_of_rustls("a.test");
    sent.extend_from_slice(b"early data");

    let (bytes, name) = read(&mut &sent[..]).await.unwrap();

    assert_eq!(bytes, sent);
    assert_eq!(name.as_deref(), Some("a.test"));
}

#[tokio::test]
async fn an_oversized_client_hello_is_rejected() {
    let record = [&[HANDSHAKE, 3, 1, 0, 1][..], &[CLIENT_HELLO]].concat();
    let more = [HANDSHAKE, 3, 1, 0, 1, 0].repeat(MAX_HELLO);
    let sent = [record, more].concat();

    let result = read(&mut &sent[..]).await;

    assert_eq!(result, Err("malformed_client_hello"));
}

proptest! {
    #[test]
    fn a_name_is_found_in_any_records_and_before_the_end_more_is_wanted(
        name in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}",
        session in proptest::collection::vec(any::<u8>(), 0..33),
        before in proptest::collection::vec((1u16..9, proptest::collection::vec(any::<u8>(), 0..40)), 0..4),
        after in proptest::collection::vec((1u16..9, proptest::collection::vec(any::<u8>(), 0..40)), 0..4),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
        named in any::<bool>(),
    ) {
        let written = |list: &[(u16, Vec<u8>)]| -> Vec<u8> {
            let each = list.iter().map(|(kind, data)| [&kind.to_be_bytes()[..], &with_length(data)].concat());
            each.flatten().collect()
        };
        let own = if named { server_name_extension(name.as_bytes()) } else { Vec::new() };
        let extensions = [written(&before), own, written(&after)].concat();
        let bytes = in_records(&message_with(&session, &[0x13, 1, 0x13, 2], Some(&extensions)), &cuts);

        prop_assert_eq!(server_name(&bytes), Ok(named.then_some(name)));
        for length in 0..bytes.len() {
            prop_assert_eq!(server_name(&bytes[..length]), Err(Partial));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = server_name(&bytes);
        let _ = server_name(&in_records(&[&[CLIENT_HELLO, 0, 0, 200], &bytes[..]].concat(), &[]));
    }
}
