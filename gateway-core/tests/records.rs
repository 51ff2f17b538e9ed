//! Tests of access log records: of incomplete heads, and of HTTP/2 requests whose body is malformed or whose
//! stream the client resets.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod lab;

use std::time::Duration;

use lab::{Lab, QUIET};
use tokio::io::AsyncWriteExt;
use towergate_core::http::settings::ListenerSettings;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame of stream 1, or of the connection (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u8;
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A literal field without indexing (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let (names, values) = (name.len() as u8, value.len() as u8);
    [&[0, names], name.as_bytes(), &[values], value.as_bytes()].concat()
}

/// HEADERS of a `GET` for `path` of `http://a`, with one additional field.
fn head(path: &str, name: &str, value: &str) -> Vec<u8> {
    let path = field(":path", path);
    let block = [b"\x82\x86\x01\x01a", &path[..], &field(name, value)].concat();
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// The records of a connection on which the client sends these frames.
async fn records(frames: &[Vec<u8>]) -> Vec<(u16, String, String)> {
    let lab = Lab::new().await;
    let mut client = lab.connect();
    let opening = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, &[])[..],
    ];
    client.write_all(&opening.concat()).await.unwrap();
    for frame in frames {
        client.write_all(frame).await.unwrap();
        tokio::time::sleep(QUIET).await;
    }
    lab::rest(&mut client).await;
    lab.records()
}

/// The records of an HTTP/1 connection that the client closes after these bytes.
async fn records_of_closed(bytes: &[u8]) -> Vec<(u16, String, String)> {
    let lab = Lab::new().await;
    let mut client = lab.connect();
    client.write_all(bytes).await.unwrap();
    tokio::time::sleep(QUIET).await;
    drop(client);
    tokio::time::sleep(QUIET).await;
    lab.records()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_within_a_head_or_after_an_empty_line_leaves_a_record() {
    let left = record("DC", "downstream_remote_disconnect");
    for (bytes, expected) in [(&b"GET / HT"[..], &left[..]), (b"\r\n", &left), (b"", &[])] {
        let found = records_of_closed(bytes).await;

        assert_eq!(found, expected, "{}", bytes.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_side_within_a_body_gets_no_response() {
    let left = record("DC", "downstream_remote_disconnect");
    for path in ["/", "/wait", "/missing-slash?x=1"] {
        for framing in [
            "Content-Length: 5\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        ] {
            let lab = Lab::new().await;
            let mut client = lab.connect();
            let text = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}");
            client.write_all(text.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();

            let answer = lab::rest(&mut client).await;

            assert_eq!(answer.escape_ascii().to_string(), "", "{text}");
            assert_eq!(lab.records(), left, "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_accepts_no_data_reaches_the_idle_timeout() {
    let mut settings = ListenerSettings::default();
    settings.timeouts.stream_idle = Some(Duration::from_secs(3));
    let lab = Lab::with(settings).await;
    let mut client = lab.connect();
    let start = tokio::time::Instant::now();

    client
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut records = Vec::new();
    while records.is_empty() {
        tokio::time::sleep(QUIET).await;
        records = lab.records();
    }

    let expected = (200, "SI".to_owned(), "stream_idle_timeout".to_owned());
    assert_eq!(records, [expected]);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_connection_with_a_protocol_error_does_not_look_disconnected() {
    let bad = frame(HEADERS, END_HEADERS | END_STREAM, 0, &[0x82]);
    let complete = |path| {
        let mut head = head(path, "x-a", "1");
        head[4] |= END_STREAM;
        head
    };
    for first in [complete("/wait"), head("/wait", "x-a", "1")] {
        let found = records(&[first, bad.clone()]).await;

        assert_eq!(found, record("DPE", "http2.protocol_error"));
    }
}

fn record(flags: &str, details: &str) -> Vec<(u16, String, String)> {
    vec![(0, flags.to_owned(), details.to_owned())]
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_than_its_content_length_is_malformed() {
    let (abc, end) = (frame(DATA, 0, 1, b"abc"), frame(DATA, END_STREAM, 1, b""));
    for (path, length, rest) in [
        ("/", "5", vec![abc.clone(), end.clone()]),
        ("/", "2", vec![abc.clone()]),
        ("/wait", "5", vec![abc.clone(), end]),
        ("/wait", "2", vec![abc.clone()]),
        ("/wait", "3", vec![abc.clone(), abc]),
    ] {
        let mut frames = vec![head(path, "content-length", length)];
        frames.extend(rest);

        let found = records(&frames).await;

        assert_eq!(
            found,
            record("DPE", "http2.remote_reset"),
            "{path} {length}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_resets_within_the_body_is_not_malformed() {
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);

    let found = records(&[
        head("/wait", "content-length", "5"),
        frame(DATA, 0, 1, b"abc"),
        reset,
    ])
    .await;

    assert_eq!(found, record("DR", "http2.remote_reset"));
}
