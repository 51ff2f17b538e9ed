//! HTTP/1 clients that close their side of the connection, and upgrades that are refused.

use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::serve::serve_connection;

/// Requests with an upgrade that the handler does not accept. Each of them receives a normal response.
const REFUSED: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nok",
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
];

/// A served connection in memory.
fn connect(drain: &Drain) -> (DuplexStream, Arc<Recorder>) {
    let (context, events) = context(drain, |_| {});
    let (client, server) = duplex(64 * 1024);
    tokio::spawn(serve_connection(server, context));
    (client, events)
}

/// The response that a client receives, and the recorded events.
#[derive(Debug, Eq, PartialEq)]
struct Outcome {
    /// Lines of the response. Fields that depend on the time are removed.
    answer: Vec<String>,
    errors: Vec<String>,
    incomplete_heads: usize,
}

async fn outcome(parts: &[&[u8]], closes: bool) -> Outcome {
    INCOMPLETE_HEADS.set(0);
    let (answer, events) = exchange(parts, closes).await;
    let is_of_time = |line: &&str| line.starts_with("date: ") || line.starts_with("x-age: ");
    let lines = answer.lines().filter(|line| !is_of_time(line));
    let events = events.0.lock().unwrap();
    let errors = events.iter().filter(|event| event.contains("CodecError"));
    Outcome {
        answer: lines.map(str::to_owned).collect(),
        errors: errors.cloned().collect(),
        incomplete_heads: INCOMPLETE_HEADS.get(),
    }
}

/// Sends the parts with pauses between them, and closes the sending side if `closes` is set. Then reads until
/// the connection ends.
async fn exchange(parts: &[&[u8]], closes: bool) -> (String, Arc<Recorder>) {
    let (mut client, events) = connect(&Drain::new());
    for part in parts {
        client.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if closes {
        client.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (String::from_utf8(answer).unwrap(), events)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_side_after_a_refused_upgrade_gets_its_response() {
    for path in ["/", "/slow", "/collect"] {
        for request in REFUSED.map(|request| request.replacen(" / ", &format!(" {path} "), 1)) {
            for before in ["", GET] {
                let text = format!("{before}{request}");
                for split in [text.len(), text.len() - 1, text.len() / 2, 1] {
                    let (first, second) = text.as_bytes().split_at(split);

                    let (answer, _) = exchange(&[first, second], true).await;

                    let expected = if before.is_empty() { 1 } else { 2 };
                    assert_eq!(
                        answer.matches("HTTP/1.1 200 OK").count(),
                        expected,
                        "{text:?} at {split}: {answer}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn complete_requests_before_an_incomplete_one_get_their_responses() {
    let slow = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    for rest in [
        "GET /x HT",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        "\r\n",
    ] {
        let (answer, _) = exchange(&[slow.as_bytes(), rest.as_bytes()], true).await;

        assert!(answer.contains("\r\n\r\nslow"), "{rest:?}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_after_a_refused_upgrade() {
    for request in REFUSED {
        let (mut client, events) = connect(&Drain::new());
        for pause in [0, 3, 30, 0, 3] {
            client.write_all(request.as_bytes()).await.unwrap();
            let mut response = vec![0; 4096];
            let n = client.read(&mut response).await.unwrap();
            assert!(response[..n].ends_with(b"ok"), "{request}");
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        assert_eq!(events.count("ConnectionClosed"), 0, "{request}");
        drop(client);
        events.expect("ConnectionClosed").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_refused_upgrade_ends_as_any_other() {
    let closing = REFUSED[3].replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let (answer, events) = exchange(&[closing.as_bytes()], false).await;
    assert!(answer.ends_with("ok"), "{answer}");
    events.expect("ConnectionClosed").await;

    let drain = Drain::new();
    let (mut client, events) = connect(&drain);
    client.write_all(REFUSED[3].as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drain.start();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    events.expect("ConnectionClosed").await;
}

/// Heads that are rejected or incomplete, in addition to those that hyper rejects.
const REJECTED: &[&[u8]] = &[
    b"GET /lenient#x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /lenient HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    b"POST /lenient HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /lenient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
    b"GET / HTTP/1.1\r\nHost: a\r\n\0: b\r\n",
    b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nA",
    b"GET / HTTP/1.1\r\n",
    b"GET  / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/1.20\r\nHost: a\r\n\r\n",
    b"GET / HTTP/3x",
    b"\r\n\x16\x03\x01\x02\0\x01",
    b"GET /raw/x\r\n",
    b"GET /raw/x\n",
    b"\r\nGET /raw/x\r\n",
    b"GET\r\n",
    b"GET /<\r\n",
    b"SSH-2.0-x\r\n",
    b"GET /raw/x HTTP/1.1 \r\n",
    b"GET /raw/x http/1.1\r\n",
    b"GET /raw/\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /raw/\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\0 HTTP/1.2\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: \x01\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: \x01\r\n\r\n",
];

#[tokio::test(start_paused = true)]
async fn the_response_to_an_invalid_head_does_not_depend_on_how_its_bytes_arrive() {
    let malformed = super::http1::MALFORMED.iter().map(|row| row.0);
    for text in malformed.chain(REJECTED.iter().copied()) {
        for closes in [false, true] {
            let whole = outcome(&[text], closes).await;
            for at in 1..text.len() {
                let (first, second) = text.split_at(at);

                let split = outcome(&[first, second], closes).await;

                let shown = text.escape_ascii();
                assert_eq!(split, whole, "{shown} at {at}, closes: {closes}");
            }
            let bytes: Vec<_> = text.chunks(1).collect();
            let split = outcome(&bytes, closes).await;
            assert_eq!(split, whole, "{} by byte, {closes}", text.escape_ascii());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_version_is_rejected_at_once() {
    let text = b"GET /raw/x\r\n";
    for at in 1..=text.len() {
        let (first, second) = text.split_at(at);
        let start = tokio::time::Instant::now();

        let (answer, _) = exchange(&[first, second], false).await;

        assert!(answer.starts_with("HTTP/1.1 426 "), "at {at}: {answer}");
        assert!(start.elapsed() < Duration::from_secs(2), "at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_connection_closes_with_the_last_response_to_a_client_that_closed_its_side() {
    for request in [
        GET,
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
        "POST /collect HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        REFUSED[0],
    ] {
        for text in [request.to_owned(), format!("{GET}{request}")] {
            for parts in [vec![text.as_bytes()], text.as_bytes().chunks(7).collect()] {
                let start = tokio::time::Instant::now();

                let (answer, _) = exchange(&parts, true).await;

                assert!(answer.starts_with("HTTP/1.1 200 OK"), "{text}: {answer}");
                let limit = Duration::from_millis(400) + Duration::from_millis(text.len() as u64);
                assert!(start.elapsed() < limit, "{text}: {:?}", start.elapsed());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_left_gets_no_response() {
    for (path, body) in [("/left", "abc"), ("/left", "")] {
        let text = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{body}");
        let start = tokio::time::Instant::now();

        let (answer, events) = exchange(&[text.as_bytes()], true).await;

        assert_eq!(answer, "");
        assert!(start.elapsed() < Duration::from_millis(100));
        events.expect("ConnectionClosed").await;
    }
}
