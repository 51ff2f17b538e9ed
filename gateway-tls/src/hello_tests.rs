//! ClientHellos of all kinds: split, unusual, malformed, late, or missing.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use crate::acceptor::{AcceptError, Choice, Hello, accept};
use crate::testing::{Key, always, certificate, client, sender, settings, soon};
use crate::{NameMap, default_provider};

/// The ClientHello of a client, without its record header.
fn hello(config: ClientConfig, name: &str) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    let mut payload = Vec::new();
    let mut rest = &bytes[..];
    while let [22, 3, 1, high, low, tail @ ..] = rest {
        let (record, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        payload.extend_from_slice(record);
        rest = tail;
    }
    assert!(rest.is_empty());
    (connection, payload)
}

/// Splits `payload` into records of `size` bytes each.
fn records(payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    };
    payload.chunks(size).map(record).collect()
}

/// Edits the extensions of a ClientHello and recomputes all lengths.
fn with_extensions(hello: &[u8], change: impl FnOnce(&mut Vec<(u16, Vec<u8>)>)) -> Vec<u8> {
    let number = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    // Skips type, length, version and random. Session id, suites and compression methods follow.
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + number(at);
    at += 1 + usize::from(hello[at]);
    let head = &hello[4..at];
    at += 2;
    let mut extensions = Vec::new();
    while at < hello.len() {
        let (kind, length) = (number(at), number(at + 2));
        let body = hello[at + 4..at + 4 + length].to_vec();
        extensions.push((u16::try_from(kind).unwrap(), body));
        at += 4 + length;
    }
    change(&mut extensions);
    let mut block = Vec::new();
    for (kind, body) in extensions {
        block.extend(kind.to_be_bytes());
        block.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        block.extend(body);
    }
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    let body = [head, &length, &block].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

/// The body of a server name extension with these names (RFC 6066, section 3).
fn server_names(names: &[&[u8]]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        list.push(0);
        list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        list.extend_from_slice(name);
    }
    let length = u16::try_from(list.len()).unwrap().to_be_bytes();
    [&length[..], &list].concat()
}

fn with_server_names(names: &[&[u8]]) -> Vec<u8> {
    let (_, hello) = hello(client(), "a.test");
    with_extensions(&hello, |extensions| {
        let body = extensions.iter_mut().find(|(kind, _)| *kind == 0);
        body.unwrap().1 = server_names(names);
    })
}

/// Sends `pieces` to a server. Returns the server name that `choose` receives, or the error if the
/// ClientHello cannot be read.
async fn seen(pieces: Vec<Vec<u8>>) -> Result<Option<String>, AcceptError> {
    let (io, send) = sender(pieces);
    let (result, _ours) = tokio::join!(accept(io, soon(), |_| None), send);
    match result {
        Err(AcceptError::NoListener(name)) => Ok(name),
        Err(error) => Err(error),
        Ok(_) => panic!("there is no choice"),
    }
}

/// A ClientHello of nearly 16 KiB, most of it ALPN protocols.
fn large_hello() -> Vec<u8> {
    let mut config = client();
    config.alpn_protocols = (0..55u8).map(|i| vec![b'a' + i % 26; 255]).collect();
    let (_, payload) = hello(config, "a.test");
    assert!(payload.len() > 14 * 1024 && payload.len() < 16 * 1024);
    payload
}

#[tokio::test]
async fn records_and_segments_of_a_hello_make_no_difference() {
    let (_, small) = hello(client(), "a.test");
    let large = large_hello();
    let small = [1, 2, 16, 255, 1024, 16 * 1024].map(|size| records(&small, size));
    let large = [2, 16, 255, 1024, 16 * 1024].map(|size| records(&large, size));

    for pieces in small.into_iter().chain(large) {
        let bytes: Vec<Vec<u8>> = pieces.concat().iter().map(|byte| vec![*byte]).collect();

        assert_eq!(seen(pieces).await.unwrap().as_deref(), Some("a.test"));
        assert_eq!(seen(bytes).await.unwrap().as_deref(), Some("a.test"));
    }
}

#[tokio::test]
async fn a_hello_that_takes_more_than_64_kib_of_records_is_refused() {
    let result = seen(records(&large_hello(), 1)).await;

    assert!(matches!(result, Err(AcceptError::Handshake(_))));
}

#[tokio::test]
async fn a_client_with_a_split_hello_completes_its_handshake() {
    let certificate = certificate(&["a.test"], Key::P256);
    let config = settings(&[&certificate])
        .build(default_provider(), None)
        .unwrap();
    let (mut connection, payload) = hello(client(), "a.test");
    let (mut ours, theirs) = duplex(256);
    let client = async {
        for record in records(&payload, 7) {
            ours.write_all(&record).await.unwrap();
        }
        while connection.is_handshaking() {
            let mut buffer = [0; 256];
            let length = ours.read(&mut buffer).await.unwrap();
            connection.read_tls(&mut &buffer[..length]).unwrap();
            connection.process_new_packets().unwrap();
            let mut bytes = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut bytes).unwrap();
            }
            ours.write_all(&bytes).await.unwrap();
        }
        ours
    };

    let (result, _ours) = tokio::join!(accept(theirs, soon(), always(&config)), client);

    assert_eq!(result.unwrap().1.server_name.as_deref(), Some("a.test"));
}

#[tokio::test]
async fn unknown_extensions_and_suites_are_ignored() {
    let (_, payload) = hello(client(), "a.test");
    let mut payload = with_extensions(&payload, |extensions| {
        extensions.insert(0, (0x0a0a, Vec::new()));
        extensions.push((0xdada, vec![0]));
    });
    // Offset of the first suite, which follows the session id.
    let suites = 4 + 2 + 32 + 1 + usize::from(payload[38]) + 2;
    payload[suites..suites + 2].copy_from_slice(&[0x1a, 0x1a]);

    let name = seen(records(&payload, 16 * 1024)).await.unwrap();

    assert_eq!(name.as_deref(), Some("a.test"));
}

#[tokio::test]
async fn a_server_name_is_normalized_before_the_choice() {
    let cases: [(&[u8], Option<&str>); 6] = [
        (b"a.test", Some("a.test")),
        (b"A.tESt", Some("a.test")),
        (b"a.test.", Some("a.test")),
        (b"A.TEST.", Some("a.test")),
        (b"192.0.2.1", None),
        (b"2001:db8::1", None),
    ];

    for (sent, expected) in cases {
        let payload = with_server_names(&[sent]);
        let name = seen(records(&payload, 16 * 1024)).await.unwrap();

        assert_eq!(name.as_deref(), expected, "{sent:?}");
    }
}

#[tokio::test]
async fn malformed_server_names_are_rejected() {
    let long = [b'a'; 64];
    let cases: [&[&[u8]]; 9] = [
        &[b"*.x.test"],
        &[b"-bad.test"],
        &[&long],
        &[b"a\0.test"],
        &[b"a\n.test"],
        &[b"a b.test"],
        &[b"\xff.test"],
        &[b""],
        &[b"a.test", b"b.test"],
    ];

    for names in cases {
        let result = seen(records(&with_server_names(names), 16 * 1024)).await;

        assert!(
            matches!(result, Err(AcceptError::Handshake(_))),
            "{names:?}: {result:?}"
        );
    }
    let none = seen(records(&with_server_names(&[]), 16 * 1024)).await;
    assert!(none.is_err(), "an empty list: {none:?}");
}

#[tokio::test]
async fn a_listener_accepts_the_names_of_its_hostname_only() {
    let mut listeners = NameMap::default();
    for hostname in ["a.example.test", "*.example.test"] {
        listeners.insert(hostname.parse().unwrap(), hostname);
    }
    let cases = [
        ("a.example.test", Some("a.example.test")),
        ("b.example.test", Some("*.example.test")),
        // A wildcard of a listener matches any number of labels.
        ("x.a.example.test", Some("*.example.test")),
        ("example.test", None),
        ("192.0.2.1", None),
    ];

    for (name, expected) in cases {
        let (_, payload) = hello(client(), name);
        let (io, send) = sender(records(&payload, 16 * 1024));
        let mut chosen = None;
        let choose = |hello: &Hello<DuplexStream>| {
            chosen = listeners.find(hello.server_name().unwrap_or_default());
            None
        };
        let (result, _ours) = tokio::join!(accept(io, soon(), choose), send);

        assert!(matches!(result, Err(AcceptError::NoListener(_))));
        assert_eq!(chosen.copied(), expected, "{name}");
    }
}

#[tokio::test]
async fn without_a_listener_the_connection_is_closed_without_an_alert() {
    let (_, payload) = hello(client(), "a.test");
    let (mut ours, theirs) = duplex(64 * 1024);
    ours.write_all(&records(&payload, 16 * 1024).concat())
        .await
        .unwrap();

    let task = tokio::spawn(accept(theirs, soon(), |_| None));
    let result = task.await.unwrap();

    assert!(matches!(result, Err(AcceptError::NoListener(Some(_)))));
    assert_eq!(ours.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_choice_receives_the_alpn_protocols_of_the_client() {
    let mut config = client();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (_, payload) = hello(config, "a.test");
    let (io, send) = sender(records(&payload, 16 * 1024));
    let mut alpn = Vec::new();

    let choose = |hello: &Hello<DuplexStream>| {
        alpn = hello.alpn().map(|protocol| protocol.to_vec()).collect();
        None
    };
    let (_result, _ours) = tokio::join!(accept(io, soon(), choose), send);

    assert_eq!(alpn, [&b"h2"[..], b"http/1.1"]);
}

#[tokio::test]
async fn plaintext_has_an_error_of_its_own() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ] {
        let result = seen(vec![text.as_bytes().to_vec()]).await;

        assert!(matches!(result, Err(AcceptError::NotTls)), "{result:?}");
    }
}

#[tokio::test]
async fn an_early_close_has_an_error_of_its_own() {
    let (_, payload) = hello(client(), "a.test");
    let half = records(&payload[..payload.len() / 2], 16 * 1024).concat();
    for sent in [&b""[..], &half] {
        let (mut ours, theirs) = duplex(64 * 1024);
        ours.write_all(sent).await.unwrap();
        drop(ours);

        let result = accept(theirs, soon(), |_| None).await;

        assert!(matches!(result, Err(AcceptError::Closed)), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_hello_fails_at_the_deadline() {
    let (_, payload) = hello(client(), "a.test");
    let mut bytes = records(&payload, 16 * 1024).concat();
    bytes.pop();
    let (mut ours, theirs) = duplex(64 * 1024);
    ours.write_all(&bytes).await.unwrap();
    let start = Instant::now();
    let deadline = start + Duration::from_secs(15);

    let result = accept(theirs, deadline, |_| None).await;

    assert!(matches!(result, Err(AcceptError::Timeout)));
    assert!(start.elapsed() >= Duration::from_secs(15));
    assert!(start.elapsed() < Duration::from_secs(16));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_handshake_fails_at_the_limit_of_the_listener() {
    let certificate = certificate(&["a.test"], Key::P256);
    let config = settings(&[&certificate])
        .build(default_provider(), None)
        .unwrap();
    let (_, payload) = hello(client(), "a.test");
    for limit in [Some(Duration::from_secs(3)), None] {
        let (mut ours, theirs) = duplex(64 * 1024);
        ours.write_all(&records(&payload, 16 * 1024).concat())
            .await
            .unwrap();
        let choice = Choice {
            config: config.clone(),
            handshake_timeout: limit,
            clients: None,
        };
        let start = Instant::now();

        let accepted = accept(theirs, soon(), |_| Some(choice));
        let result = timeout(Duration::from_secs(10_000), accepted).await;

        match limit {
            Some(limit) => {
                assert!(matches!(result, Ok(Err(AcceptError::Timeout))));
                assert!(start.elapsed() < limit + Duration::from_secs(1));
            }
            None => assert!(result.is_err()),
        }
    }
}
