//! Time limits over real sockets. The configured limits are short. Upper bounds are checked with a generous
//! tolerance. A lower bound is checked by an event that must occur before the limit expires.

use super::*;

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_connection_without_a_byte_is_closed_without_a_response() {
    let rig = Rig::plain(|s| s.timeouts.idle = Some(SHORT)).await;

    let answer = rig.talk("").await;

    assert_eq!(answer, "");
    rig.events.expect("ConnectionClosed").await;
    assert_eq!(rig.events.count("CodecError"), 0);
}

#[tokio::test]
async fn an_incomplete_head_gets_408() {
    let rig = Rig::plain(|s| s.timeouts.request_headers = Some(SHORT)).await;

    let answer = rig.talk("GET / HTTP/1.1\r\nHost: a.test\r\n").await;

    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nrequest header timeout"),
        "{answer}"
    );
    rig.events.expect("request_header_timeout").await;
}

#[tokio::test]
async fn further_bytes_do_not_extend_the_time_of_a_head() {
    let rig = Rig::plain(|s| s.timeouts.request_headers = Some(SHORT)).await;
    let client = rig.connect().await;
    let (mut read, mut write) = client.0.into_split();

    let drip = tokio::spawn(async move {
        while write.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = vec![0; 12];
    soon(read.read_exact(&mut answer)).await.unwrap();

    assert_eq!(answer, b"HTTP/1.1 408");
    drip.abort();
}

#[tokio::test]
async fn the_request_timeout_applies_to_the_head() {
    let rig = Rig::plain(|s| s.timeouts.request = Some(SHORT)).await;

    let answer = rig.talk("GET / HTTP/1.1\r\nHost: a.test\r\n").await;

    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nrequest timeout"), "{answer}");
}

#[tokio::test]
async fn the_idle_timeout_of_streams_applies_to_the_head() {
    let rig = Rig::plain(|s| s.timeouts.stream_idle = Some(SHORT)).await;

    let answer = rig.talk("GET / HTTP/1.1\r\nHost: a.test\r\n").await;

    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nstream timeout"), "{answer}");
    rig.events.expect("stream_idle_timeout").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_a_slow_request_is_not() {
    let rig = Rig::plain(|s| {
        s.timeouts.idle = Some(SHORT);
        s.timeouts.request_headers = Some(SHORT);
    })
    .await;
    let mut client = rig.connect().await;

    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = client.response().await;

    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "slow");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn the_head_of_a_later_request_has_its_own_timeout() {
    let rig = Rig::plain(|s| s.timeouts.request_headers = Some(SHORT)).await;
    let mut client = rig.connect().await;

    client.send(GET).await;
    client.response().await;
    tokio::time::sleep(SHORT * 2).await;
    client.send(GET).await;
    let (head, _) = client.response().await;
    client.send("GET / HTTP").await;

    assert!(
        head.starts_with("http/1.1 200"),
        "idle time does not count towards the head"
    );
    assert!(client.rest().await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_connection_at_its_maximum_duration_closes_after_the_next_response() {
    let rig = Rig::plain(|s| s.limits.max_duration = Some(SHORT)).await;
    let mut client = rig.connect().await;

    client.send(GET).await;
    let (young, _) = client.response().await;
    tokio::time::sleep(SHORT * 2).await;
    client.send(GET).await;
    let (old, _) = client.response().await;

    assert!(!young.contains("connection: close"));
    assert!(old.contains("connection: close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_connection_at_its_maximum_duration_closes_at_once_if_configured() {
    let rig = Rig::plain(|s| {
        s.limits.max_duration = Some(SHORT);
        s.http1.close_at_max_duration = true;
    })
    .await;
    let mut client = rig.connect().await;

    client.send(GET).await;
    client.response().await;

    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn an_incomplete_preface_has_the_time_of_a_head() {
    let rig = Rig::plain(|s| {
        s.timeouts.idle = Some(SHORT);
        s.timeouts.request_headers = Some(SHORT);
    })
    .await;

    let answer = rig.talk("PRI * HT").await;

    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_after_the_delay() {
    let rig = Rig::plain(|s| {
        s.limits.connections = Some(1);
        s.limits.close_delay = Some(SHORT);
    })
    .await;
    let mut first = rig.connect().await;
    first.send(GET).await;
    first.response().await;

    let start = std::time::Instant::now();
    let refused = rig.talk(GET).await;
    let waited = start.elapsed();
    drop(first);
    rig.events.expect("ConnectionClosed").await;
    let closed = || {
        rig.listener
            .connections
            .load(std::sync::atomic::Ordering::Relaxed)
            == 0
    };
    eventually(closed).await.unwrap();
    let mut second = rig.connect().await;
    second.send(GET).await;

    assert_eq!(refused, "");
    assert!(waited >= SHORT);
    rig.events.expect("ConnectionRefused").await;
    assert!(second.response().await.0.starts_with("http/1.1 200"));
}
