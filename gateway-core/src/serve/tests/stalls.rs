//! Clients that stall, over in-memory connections with the clock paused.

use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::serve::serve_connection;

/// A served connection, and the recorder of its events.
fn serve(drain: &Drain) -> (DuplexStream, Arc<Recorder>) {
    serve_with(drain, |_| {})
}

fn serve_with(
    drain: &Drain,
    edit: impl FnOnce(&mut ListenerSettings),
) -> (DuplexStream, Arc<Recorder>) {
    let (context, events) = context(drain, edit);
    let (client, server) = duplex(4096);
    tokio::spawn(serve_connection(server, context));
    (client, events)
}

/// Seconds from now until the connection is closed.
pub(super) async fn lifetime(events: &Recorder) -> u64 {
    let start = Instant::now();
    while events.count("ConnectionClosed") == 0 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(start.elapsed() < Duration::from_secs(10_000));
    }
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_response_is_closed() {
    let (mut client, events) = serve(&Drain::new());

    client
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();

    assert_eq!(lifetime(&events).await, 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_response_is_closed_after_the_stream_idle_timeout() {
    for (idle, expected) in [(Some(3), 3), (Some(60), 30), (None, 30)] {
        let (mut client, events) = serve_with(&Drain::new(), |settings| {
            settings.timeouts.stream_idle = idle.map(Duration::from_secs);
        });

        client
            .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();

        assert_eq!(lifetime(&events).await, expected, "{idle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_whose_client_does_not_read_is_closed_after_its_streams() {
    let (client, events) = serve_with(&Drain::new(), |settings| {
        settings.timeouts.stream_idle = Some(Duration::from_secs(3));
    });
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .handshake::<_, bytes::Bytes>(client)
        .await
        .unwrap();
    let mut connection = Box::pin(connection);
    let request = Request::get("http://a.test/big").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();

    // The connection is driven until the response head has been received, and not any further.
    tokio::select! {
        _ = &mut connection => panic!("the connection ends"),
        response = response => assert_eq!(response.unwrap().status(), 200),
    }

    assert_eq!(lifetime(&events).await, 30);
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_of_a_head_includes_the_detection_of_the_protocol() {
    for (idle, expected, status) in [(None, 10, "408 "), (Some(3), 3, "408 ")] {
        for pause in [0, 2] {
            let (mut client, _) = serve_with(&Drain::new(), |settings| {
                settings.timeouts.stream_idle = idle.map(Duration::from_secs);
            });
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let start = Instant::now();

            client.write_all(b"PR").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.write_all(b"I").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();

            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
            assert_eq!(start.elapsed().as_secs(), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_an_http2_preface_may_arrive_slowly() {
    let (mut client, events) = serve(&Drain::new());
    tokio::time::sleep(Duration::from_secs(9)).await;
    client.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;

    client
        .write_all(b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut settings = [0; 9];
    client.read_exact(&mut settings).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;

    assert_eq!(settings[3], 4, "a SETTINGS frame: {settings:?}");
    assert_eq!(events.count("ConnectionClosed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_its_response_slowly_is_not_closed() {
    let (mut client, events) = serve(&Drain::new());
    client
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();

    for _ in 0..10 {
        client.read_exact(&mut [0; 4096]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(29)).await;
    }

    assert_eq!(events.count("ConnectionClosed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_request_body_gets_408_and_closes() {
    let (mut client, events) = serve(&Drain::new());
    let start = Instant::now();

    client
        .write_all(b"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\nhalf")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();

    assert_eq!(start.elapsed().as_secs(), 301);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nstream timeout"), "{answer}");
    assert_eq!(events.count("stream_idle_timeout"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_complete_request_waits_for_its_response() {
    let (mut client, events) = serve(&Drain::new());

    client
        .write_all(b"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhalf")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5000)).await;

    assert_eq!(events.count("ConnectionClosed"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_reply_to_an_incomplete_head_has_the_age_of_its_first_byte() {
    for start in ["GET / HTTP/1.1\r\n", "\r\n"] {
        let (mut client, _) = serve(&Drain::new());
        tokio::time::sleep(Duration::from_secs(5)).await;

        client.write_all(start.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();

        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("\r\nx-age: 1000"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_byte_may_take_ten_seconds() {
    let (_client, events) = serve(&Drain::new());

    assert_eq!(lifetime(&events).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_be_idle_for_an_hour() {
    let (mut client, events) = serve(&Drain::new());
    client.write_all(GET.as_bytes()).await.unwrap();

    assert_eq!(lifetime(&events).await, 3600);
}

#[tokio::test(start_paused = true)]
async fn a_first_request_within_the_grace_period_of_a_drain_is_served() {
    let drain = Drain::new();
    let (mut client, _) = serve(&drain);
    drain.start();
    tokio::time::sleep(Duration::from_millis(100)).await;

    client.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_http2_stream_whose_client_opens_no_window_is_reset() {
    let (client, events) = serve(&Drain::new());
    let io = TokioIo::new(client);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .uri("http://a.test/endless")
        .body(Body::empty())
        .unwrap();

    let mut response = sender.send_request(request).await.unwrap();
    for _ in 0..10 {
        http_body_util::BodyExt::frame(&mut response)
            .await
            .unwrap()
            .unwrap();
        tokio::time::sleep(Duration::from_secs(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(301)).await;
    let mut last = http_body_util::BodyExt::frame(&mut response).await;
    while let Some(Ok(_)) = last {
        last = http_body_util::BodyExt::frame(&mut response).await;
    }

    assert!(
        last.is_some_and(|frame| frame.is_err()),
        "the stream is reset"
    );
    assert_eq!(events.count("ConnectionClosed"), 0);
}

#[tokio::test(start_paused = true)]
async fn each_http2_stream_without_a_window_is_reset_while_others_continue() {
    let (client, events) = serve(&Drain::new());
    let (mut sender, mut connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(client)
        .await
        .unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    let request = |path: &str| {
        let uri = format!("http://a.test{path}");
        Request::builder().uri(uri).body(()).unwrap()
    };
    let mut bodies = Vec::new();
    for path in ["/endless", "/big", "/slow-body"] {
        let (response, _) = sender.send_request(request(path), true).unwrap();
        bodies.push(response.await.unwrap().into_body());
    }

    for _ in 0..29 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        pings.ping(h2::Ping::opaque()).await.unwrap();
        let (response, _) = sender.send_request(request("/"), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    }
    tokio::time::sleep(Duration::from_secs(20)).await;

    for mut body in bodies {
        let reset = body.data().await.unwrap().unwrap_err();
        assert_eq!(reset.reason(), Some(h2::Reason::CANCEL));
    }
    assert_eq!(events.count("ConnectionClosed"), 0);
}

#[tokio::test(start_paused = true)]
async fn after_an_early_response_the_body_is_read_for_the_linger_time() {
    let (mut client, events) = serve(&Drain::new());
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();

    let mut sent = 0;
    while client.write_all(&[b'x'; 4096]).await.is_ok() {
        sent += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!((9..12).contains(&sent), "about a second: {sent}");
    assert_eq!(events.count("ConnectionClosed"), 1);
}
