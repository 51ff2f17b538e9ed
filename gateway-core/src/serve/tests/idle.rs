//! Release of the codec of idle connections, which clients must not be able to observe. The clock is paused.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::stalls::lifetime;
use super::*;
use crate::serve::idle::{IdleConnection, WakeReason};
use crate::serve::{http1, serve_connection};

const RELEASE: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

fn serve(drain: &Drain, edit: impl FnOnce(&mut ListenerSettings)) -> (DuplexStream, Arc<Recorder>) {
    let (context, events) = context(drain, edit);
    let (client, server) = duplex(4096);
    tokio::spawn(serve_connection(server, context));
    (client, events)
}

/// A connection that the test drives.
fn connection() -> (DuplexStream, IdleConnection<DuplexStream, TestHandler>) {
    let (context, _) = context(&Drain::new(), |_| {});
    let (client, server) = duplex(4096);
    (client, IdleConnection::new(server, context))
}

/// Reads the head of the next response and `body` bytes of its body.
async fn response(client: &mut DuplexStream, body: usize) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(client.read_u8().await.expect("a response"));
    }
    let head = bytes.len();
    bytes.resize(head + body, 0);
    client.read_exact(&mut bytes[head..]).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn get(client: &mut DuplexStream) -> String {
    client.write_all(GET.as_bytes()).await.unwrap();
    response(client, 2).await
}

/// Serves until the codec is released; returns the time until then.
async fn serve_until_idle(
    connection: &mut Option<IdleConnection<DuplexStream, TestHandler>>,
) -> Option<Duration> {
    let mut idle = connection.take()?;
    assert_eq!(poll_fn(|cx| idle.poll(cx)).await, WakeReason::Bytes);
    let start = Instant::now();
    *connection = http1::serve(idle).await;
    connection.as_ref().map(|_| start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_codec_is_released_after_a_second_and_created_by_the_next_byte() {
    let (mut client, first) = connection();
    let mut connection = Some(first);

    for _ in 0..3 {
        let request = async { get(&mut client).await };
        let (after, response) = tokio::join!(serve_until_idle(&mut connection), request);

        assert!(response.ends_with("ok"), "{response}");
        let after = after.expect("the connection stays open");
        assert!(after >= RELEASE && after < RELEASE * 2, "{after:?}");
    }
    let idle = connection.expect("the connection stays open");
    assert!(idle.received.is_empty());
}

#[tokio::test(start_paused = true)]
async fn frequent_requests_keep_the_codec() {
    let (mut client, idle) = connection();
    let mut connection = Some(idle);
    let requests = async {
        for _ in 0..30 {
            get(&mut client).await;
            sleep(RELEASE - Duration::from_millis(100)).await;
        }
    };

    let (after, ()) = tokio::join!(serve_until_idle(&mut connection), requests);

    assert!(
        after.is_some_and(|after| after >= RELEASE * 27),
        "{after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_codec_is_released_after_a_request_with_a_body() {
    for head in [
        "Content-Length: 2\r\n\r\nhi",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let (mut client, idle) = connection();
        let mut connection = Some(idle);
        let requests = async {
            let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}");
            client.write_all(request.as_bytes()).await.unwrap();
        };

        let (after, ()) = tokio::join!(serve_until_idle(&mut connection), requests);

        assert!(after.is_some(), "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn part_of_a_pipelined_request_has_the_time_of_a_head_after_the_response() {
    let (mut client, idle) = connection();
    let mut connection = Some(idle);
    let two = format!("{GET}GET /slow HTTP/1.1\r\nHo");
    let requests = async {
        client.write_all(two.as_bytes()).await.unwrap();
        let first = response(&mut client, 2).await;
        sleep(LONG / 10).await;
        client.write_all(b"st: a\r\n\r\nGET ").await.unwrap();
        let second = response(&mut client, 4).await;
        let mut late = [0; 12];
        client.read_exact(&mut late).await.unwrap();
        (first, second, late)
    };
    let start = Instant::now();
    let (after, (first, second, late)) = tokio::join!(serve_until_idle(&mut connection), requests);

    assert!(first.ends_with("\r\n\r\nok"), "{first}");
    assert!(second.ends_with("\r\n\r\nslow"), "{second}");
    assert_eq!(&late, b"HTTP/1.1 408");
    assert!(start.elapsed() < LONG);
    assert!(after.is_none(), "its buffers are not released");
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_across_releases() {
    let (mut client, _) = serve(&Drain::new(), |s| s.limits.max_requests = Some(3));
    let mut responses = Vec::new();

    for _ in 0..3 {
        responses.push(get(&mut client).await);
        sleep(LONG).await;
    }

    let closes = |response: &String| response.contains("connection: close");
    assert_eq!(
        responses.iter().map(closes).collect::<Vec<_>>(),
        [false, false, true]
    );
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_starts_with_the_last_response() {
    let (mut client, events) = serve(&Drain::new(), |s| s.timeouts.idle = Some(LONG));
    get(&mut client).await;
    sleep(LONG / 2).await;
    get(&mut client).await;

    assert_eq!(lifetime(&events).await, LONG.as_secs());
}

#[tokio::test(start_paused = true)]
async fn the_head_timeout_after_a_release_starts_with_the_first_byte() {
    let (mut client, events) = serve(&Drain::new(), |_| {});
    get(&mut client).await;
    sleep(LONG).await;
    let start = Instant::now();

    client.write_all(b"GET / HT").await.unwrap();
    sleep(Duration::from_secs(9)).await;
    client.write_all(b"TP/1.1\r\n").await.unwrap();
    let mut last = String::new();
    client.read_to_string(&mut last).await.unwrap();

    assert_eq!(start.elapsed().as_secs(), 10);
    assert!(last.ends_with("\r\n\r\nrequest header timeout"), "{last}");
    drop(client);
    assert!(lifetime(&events).await <= 1);
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_after_a_release_get_400() {
    let (mut client, _) = serve(&Drain::new(), |_| {});
    get(&mut client).await;
    sleep(LONG).await;

    client.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
    let mut last = String::new();
    client.read_to_string(&mut last).await.unwrap();

    assert!(last.starts_with("HTTP/1.1 400"), "{last}");
    assert!(last.contains("x-refused: 192.0.2.1"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_idle_connections_at_once() {
    let drain = Drain::new();
    let (mut client, _) = serve(&drain, |_| {});
    get(&mut client).await;
    sleep(LONG).await;
    let start = Instant::now();

    drain.start();

    assert!(drain.drained(start + LONG).await);
    assert!(start.elapsed() < RELEASE);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_maximum_duration_starts_with_the_connection() {
    for at_once in [false, true] {
        let (mut client, events) = serve(&Drain::new(), |s| {
            s.limits.max_duration = Some(LONG);
            s.http1.close_at_max_duration = at_once;
        });
        get(&mut client).await;
        sleep(LONG - RELEASE).await;
        let before = events.count("ConnectionClosed");
        sleep(RELEASE * 2).await;

        assert_eq!(
            (before, events.count("ConnectionClosed")),
            (0, usize::from(at_once))
        );
        if !at_once {
            assert!(get(&mut client).await.contains("connection: close"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_can_close_an_idle_connection() {
    let (mut client, events) = serve(&Drain::new(), |_| {});
    get(&mut client).await;
    sleep(LONG).await;

    drop(client);

    assert_eq!(lifetime(&events).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_not_released() {
    let (mut client, _) = serve(&Drain::new(), |_| {});
    client
        .write_all(
            b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await
        .unwrap();
    response(&mut client, 0).await;

    for _ in 0..3 {
        sleep(LONG).await;
        client.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        client.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_continues_after_the_response_is_read_completely() {
    let (mut client, events) = serve(&Drain::new(), |_| {});
    client
        .write_all(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\n")
        .await
        .unwrap();
    response(&mut client, 5).await;

    for _ in 0..5 {
        sleep(RELEASE * 2).await;
        assert_eq!(events.count("ConnectionClosed"), 0);
        client.write_all(b"12345").await.unwrap();
    }

    // As the response preceded the end of the body, the connection is closed once the body is complete.
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A client that pauses at any position receives one response per request, in order.
    #[test]
    fn pauses_do_not_change_responses(
        kinds in proptest::collection::vec(0usize..4, 1..6),
        cuts in proptest::collection::vec((0usize..400, 0u64..3), 0..6),
    ) {
        let all = [
            (GET, "ok"),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "abc"),
            ("\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n", "slow"),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ];
        let bytes: String = kinds.iter().map(|kind| all[*kind].0).collect();
        let mut cuts = cuts;
        cuts.sort_unstable();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (client, _) = serve(&Drain::new(), |_| {});
            let (mut read, mut write) = tokio::io::split(client);
            let send = async {
                let mut sent = 0;
                for (cut, pause) in cuts {
                    let cut = cut.min(bytes.len());
                    write.write_all(&bytes.as_bytes()[sent..cut]).await.unwrap();
                    sent = cut;
                    sleep(Duration::from_secs(pause)).await;
                }
                write.write_all(&bytes.as_bytes()[sent..]).await.unwrap();
                sleep(LONG).await;
                write.shutdown().await.unwrap();
            };
            let mut responses = String::new();
            let (_, read) = tokio::join!(send, read.read_to_string(&mut responses));
            read.unwrap();
            let bodies = responses.split("HTTP/1.1 200 OK\r\n").skip(1);
            let bodies = bodies.map(|a| a.split_once("\r\n\r\n").unwrap().1.to_owned());
            let expected: Vec<_> = kinds.iter().map(|kind| all[*kind].1.to_owned()).collect();
            prop_assert_eq!(bodies.collect::<Vec<_>>(), expected);
            Ok(())
        })?;
    }
}
