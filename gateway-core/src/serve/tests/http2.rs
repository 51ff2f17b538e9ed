//! HTTP/2 with prior knowledge.

use http_body_util::BodyExt;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioExecutor;

use super::*;

async fn connect(
    rig: &Rig,
) -> (
    SendRequest<Body>,
    tokio::task::JoinHandle<hyper::Result<()>>,
) {
    let io = TokioIo::new(rig.connect().await.0);
    let (sender, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn request(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .uri(format!("http://a.test{path}"))
        .body(body.into())
        .unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn streams_are_served_concurrently() {
    let rig = Rig::plain(|_| {}).await;
    let (mut sender, _) = connect(&rig).await;

    let slow = sender.send_request(request("/slow", ""));
    let quick = soon(sender.send_request(request("/echo", "hello")))
        .await
        .unwrap();

    assert_eq!(text(quick).await, "hello");
    assert_eq!(text(soon(slow).await.unwrap()).await, "slow");
    assert_eq!(rig.events.count("ConnectionOpened"), 1);
}

#[tokio::test]
async fn responses_without_content_end_with_their_head() {
    let rig = Rig::plain(|_| {}).await;
    let (mut sender, _) = connect(&rig).await;
    let head = |path| {
        let mut request = request(path, "");
        *request.method_mut() = http::Method::HEAD;
        request
    };

    for (request, status, length) in [
        (head("/bad"), 400, Some("4")),
        (head("/endless"), 200, None),
        (request("/no-content", ""), 204, None),
        (request("/not-modified", ""), 304, Some("4")),
    ] {
        let response = soon(sender.send_request(request)).await.unwrap();

        assert_eq!(response.status(), status);
        let found = response.headers().get("content-length");
        assert_eq!(found.map(|length| length.to_str().unwrap()), length);
        assert_eq!(text(response).await, "");
    }
    let http1 = rig
        .talk("GET /no-content HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(http1.ends_with("\r\n\r\n"), "{http1}");
    assert!(!http1.contains("content-length"), "{http1}");
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_completes_streams() {
    let rig = Rig::plain(|_| {}).await;
    let (mut sender, connection) = connect(&rig).await;
    let (mut idle_sender, idle) = connect(&rig).await;
    soon(idle_sender.send_request(request("/", "")))
        .await
        .unwrap();
    let slow = tokio::spawn(sender.send_request(request("/slow", "")));
    tokio::time::sleep(Duration::from_millis(100)).await;

    rig.drain.start();

    soon(idle).await.unwrap().unwrap();
    assert_eq!(text(soon(slow).await.unwrap().unwrap()).await, "slow");
    soon(connection).await.unwrap().unwrap();
    assert!(rig.drain.drained(tokio::time::Instant::now() + SOON).await);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let rig = Rig::plain(|s| s.timeouts.idle = Some(Duration::from_millis(200))).await;
    let (mut sender, connection) = connect(&rig).await;

    let slow = soon(sender.send_request(request("/slow", "")))
        .await
        .unwrap();

    assert_eq!(
        text(slow).await,
        "slow",
        "a connection with a stream is not idle"
    );
    let _ = soon(connection).await.unwrap();
    rig.events.expect("ConnectionClosed").await;
}

#[tokio::test]
async fn an_idle_connection_ends_with_a_goaway() {
    let rig = Rig::plain(|s| s.timeouts.idle = Some(Duration::from_millis(200))).await;
    let mut client = rig.connect().await;

    client.send(crate::conn::preamble::PREFACE).await;
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let mut bytes = Vec::new();
    while !frame_types(&bytes).contains(&7) {
        assert!(
            soon(client.0.read_buf(&mut bytes)).await.unwrap() > 0,
            "no GOAWAY"
        );
    }
}

/// The types of the complete frame heads in `bytes` (RFC 9113, section 4.1).
fn frame_types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        types.push(*kind);
        bytes = rest.get(length..).unwrap_or_default();
    }
    types
}

#[tokio::test]
async fn the_maximum_number_of_requests_ends_the_connection() {
    let rig = Rig::plain(|s| s.limits.max_requests = Some(2)).await;
    let (mut sender, connection) = connect(&rig).await;

    for _ in 0..2 {
        let response = soon(sender.send_request(request("/", ""))).await.unwrap();
        assert_eq!(text(response).await, "ok");
    }

    soon(connection).await.unwrap().unwrap();
    assert!(soon(sender.send_request(request("/", ""))).await.is_err());
}

#[tokio::test]
async fn paced_resets_are_detected() {
    let rig = Rig::plain(|_| {}).await;
    let (mut sender, connection) = connect(&rig).await;
    let mut resets = 0;

    while !connection.is_finished() && resets < 1000 {
        let never = sender.send_request(request("/never", ""));
        // The timeout gives the stream enough time to reach the handler.
        let _ = tokio::time::timeout(Duration::from_millis(3), never).await;
        resets += 1;
    }

    assert!((100..1000).contains(&resets), "closed after {resets}");
    rig.events.expect("premature_resets").await;
    rig.events.expect("ConnectionClosed").await;
}

#[tokio::test]
async fn streams_reset_before_they_are_accepted_are_detected() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;
    let mut bytes = crate::conn::preamble::PREFACE.to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS
    for stream in (1..2001_u32).step_by(2) {
        let id = stream.to_be_bytes();
        // HEADERS: GET, http, /, as indexed fields; then RST_STREAM with CANCEL.
        bytes.extend_from_slice(&[0, 0, 3, 1, 5, id[0], id[1], id[2], id[3], 0x82, 0x86, 0x84]);
        bytes.extend_from_slice(&[0, 0, 4, 3, 0, id[0], id[1], id[2], id[3], 0, 0, 0, 8]);
    }

    let _ = client.0.write_all(&bytes).await;
    let answer = client.rest().await;

    assert!(!answer.is_empty());
    rig.events.expect("Abuse").await;
    rig.events.expect("ConnectionClosed").await;
}

#[tokio::test]
async fn a_flood_of_control_frames_ends_the_connection() {
    for frame in [
        &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8][..], // PING
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],                             // SETTINGS
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1],                 // WINDOW_UPDATE of 1
        &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8],                 // RST_STREAM of a complete stream
    ] {
        let rig = Rig::plain(|_| {}).await;
        let client = rig.connect().await;
        let mut bytes = crate::conn::preamble::PREFACE.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS
        bytes.extend_from_slice(&[0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84]); // GET /
        bytes.extend(frame.repeat(20_000));
        let (mut read, mut write) = tokio::io::split(client.0);

        let sent = tokio::spawn(async move { write.write_all(&bytes).await });
        let mut answer = Vec::new();
        let _ = soon(read.read_to_end(&mut answer)).await;

        let _ = sent.await;
        rig.events.expect("control_frames").await;
        rig.events.expect("ConnectionClosed").await;
    }
}

#[tokio::test]
async fn an_http2_protocol_error_is_reported_as_a_codec_error() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;
    client.send(crate::conn::preamble::PREFACE).await;
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;

    client.send([0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).await; // DATA on stream 0

    client.rest().await;
    rig.events.expect("http2.protocol_error").await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_rejected() {
    let rig = Rig::plain(|s| s.headers.max_request_head = 1024).await;
    let (mut sender, _) = connect(&rig).await;
    let mut long = request("/", "");
    long.headers_mut()
        .insert("x-long", "a".repeat(1500).parse().unwrap());

    let answer = soon(sender.send_request(long)).await;

    match answer {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => panic!("{error:?}"),
    }
}

/// HEADERS of `GET /` on stream 1 with `te: x`: a valid frame with a malformed message (RFC 9113, section
/// 8.2.2).
const MALFORMED: &[u8] = &[
    0, 0, 9, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0, 2, b't', b'e', 1, b'x',
];
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// Types of the frames received until `done` returns true for them, or the connection is closed.
async fn frames_until(
    client: &mut Client,
    bytes: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    while !done(&frame_types(bytes)) {
        if soon(client.0.read_buf(bytes)).await.unwrap_or(0) == 0 {
            break;
        }
    }
    frame_types(bytes)
}

#[tokio::test]
async fn a_malformed_message_ends_its_stream_or_the_connection_as_configured() {
    for (end_on_invalid, ends) in [(false, false), (true, true)] {
        let rig = Rig::plain(|s| s.http2.end_on_invalid = end_on_invalid).await;
        let (mut client, mut bytes) = (rig.connect().await, Vec::new());

        client.send(crate::conn::preamble::PREFACE).await;
        client.send(SETTINGS).await;
        client.send(MALFORMED).await;
        let expected = if ends { 7 } else { 3 };
        let first = frames_until(&mut client, &mut bytes, |types| types.contains(&expected)).await;
        let _ = client.0.write_all(&PING).await;
        let after = frames_until(&mut client, &mut bytes, |types| types.contains(&6)).await;

        assert!(first.contains(&expected), "{first:?}");
        assert_eq!(after.contains(&6), !ends, "{after:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_acknowledge_a_ping_is_closed() {
    let edits: [fn(&mut crate::plan::Http2Settings); 2] = [
        |h2| h2.keepalive_interval = Some(Duration::from_millis(100)),
        |h2| h2.keepalive_idle = Some(Duration::from_millis(100)),
    ];
    for edit in edits {
        let rig = Rig::plain(|s| {
            edit(&mut s.http2);
            s.http2.keepalive_timeout = Some(Duration::from_millis(100));
        })
        .await;
        let mut client = rig.connect().await;

        client.send(crate::conn::preamble::PREFACE).await;
        client.send(SETTINGS).await;
        let seen = frames_until(&mut client, &mut Vec::new(), |_| false).await;

        assert!(seen.contains(&6), "{seen:?}");
        rig.events.expect("ConnectionClosed").await;
    }
}

/// HEADERS of stream 1 without END_HEADERS.
const UNFINISHED_HEAD: [u8; 10] = [0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82];

#[tokio::test]
async fn an_incomplete_head_has_its_own_time() {
    let rig = Rig::plain(|s| s.timeouts.request_headers = Some(Duration::from_millis(200))).await;
    for head in [
        &UNFINISHED_HEAD[..],
        &UNFINISHED_HEAD[..9],
        &UNFINISHED_HEAD[..5],
    ] {
        let mut client = rig.connect().await;
        client.send(crate::conn::preamble::PREFACE).await;
        client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;

        client.send(head).await;

        let mut bytes = Vec::new();
        while soon(client.0.read_buf(&mut bytes)).await.unwrap_or(0) > 0 {}
        assert!(frame_types(&bytes).contains(&7), "no GOAWAY in {bytes:?}");
    }
    assert_eq!(rig.events.count("request_header_timeout"), 3);
}

#[tokio::test]
async fn the_idle_timeout_of_streams_applies_to_the_head() {
    let rig = Rig::plain(|s| s.timeouts.stream_idle = Some(Duration::from_millis(200))).await;
    let mut client = rig.connect().await;
    client.send(crate::conn::preamble::PREFACE).await;
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;

    client.send(UNFINISHED_HEAD).await;

    client.rest().await;
    assert_eq!(rig.events.count("stream_idle_timeout"), 1);
}

/// Reads `/big` slowly for 9 s while `during` runs. Returns whether the response was cut off.
async fn read_slowly(
    edit: impl FnOnce(&mut ListenerSettings),
    during: impl FnOnce(&Drain),
) -> bool {
    let drain = Drain::new();
    let (context, _) = context(&drain, edit);
    let (client, server) = tokio::io::duplex(1 << 20);
    tokio::spawn(crate::serve::serve_connection(server, context));
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(16_384)
        .handshake::<_, Bytes>(client)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://a.test/big").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    during(&drain);
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let Some(Ok(data)) = soon(body.data()).await else {
            return true;
        };
        let _ = body.flow_control().release_capacity(data.len());
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_received_slowly_is_not_cut_off_by_the_idle_timeout() {
    let idle = Some(Duration::from_secs(4));

    assert!(!read_slowly(|s| s.timeouts.idle = idle, |_| {}).await);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_received_slowly_is_not_cut_off_by_a_drain() {
    assert!(!read_slowly(|_| {}, |drain| drain.start()).await);
}

#[tokio::test]
async fn a_stream_that_its_client_resets_is_told_from_a_connection_that_ends() {
    let dropped = |reset: usize| DROPPED[reset].load(Ordering::Relaxed);
    let rig = Rig::plain(|_| {}).await;
    let io = rig.connect().await.0;
    let (mut sender, connection) = h2::client::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send = |path: &str| {
        let request = Request::get(format!("http://a.test{path}")).body(());
        sender.send_request(request.unwrap(), true).unwrap().0
    };

    let (reset, ended) = (send("/reset-probe"), send("/reset-probe"));
    assert_eq!(soon(send("/")).await.unwrap().status(), 200);
    drop(reset);
    eventually(|| dropped(1) == 1).await.unwrap();
    assert_eq!(dropped(0), 0);
    connection.abort();
    eventually(|| dropped(0) == 1).await.unwrap();

    assert_eq!(dropped(1), 1);
    drop(ended);
}
