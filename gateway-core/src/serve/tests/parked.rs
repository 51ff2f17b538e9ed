//! Connections that give their codec back while they are silent, in paused time: nobody may notice.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::stalls::lifetime;
use super::*;
use crate::serve::parked::{Parked, Woken};
use crate::serve::{http1, serve_connection};

const REST: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

fn serve(drain: &Drain, edit: impl FnOnce(&mut ListenerSettings)) -> (DuplexStream, Arc<Recorder>) {
    let (context, events) = context(drain, edit);
    let (client, server) = duplex(4096);
    tokio::spawn(serve_connection(server, context));
    (client, events)
}

/// A connection that is to be driven by hand.
fn parked() -> (DuplexStream, Parked<DuplexStream, TestHandler>) {
    let (context, _) = context(&Drain::new(), |_| {});
    let (client, server) = duplex(4096);
    (client, Parked::new(server, context))
}

/// The head of the next answer, and its body, which must be so long.
async fn answer(client: &mut DuplexStream, body: usize) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(client.read_u8().await.expect("an answer"));
    }
    let head = bytes.len();
    bytes.resize(head + body, 0);
    client.read_exact(&mut bytes[head..]).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn get(client: &mut DuplexStream) -> String {
    client.write_all(GET.as_bytes()).await.unwrap();
    answer(client, 2).await
}

/// Serves until there is no codec any more; gives the time that took.
async fn serve_until_silent(
    parked: &mut Option<Parked<DuplexStream, TestHandler>>,
) -> Option<Duration> {
    let mut this = parked.take()?;
    assert_eq!(poll_fn(|cx| this.poll(cx)).await, Woken::Spoken);
    let start = Instant::now();
    *parked = http1::serve(this).await;
    parked.as_ref().map(|_| start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn after_a_second_of_silence_there_is_no_codec_and_the_next_byte_makes_one() {
    let (mut client, first) = parked();
    let mut parked = Some(first);

    for _ in 0..3 {
        let speak = async { get(&mut client).await };
        let (silent, answer) = tokio::join!(serve_until_silent(&mut parked), speak);

        assert!(answer.ends_with("ok"), "{answer}");
        let silent = silent.expect("it goes on");
        assert!(silent >= REST && silent < REST * 2, "{silent:?}");
    }
    assert!(parked.expect("it goes on").early.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_asks_every_moment_keeps_the_codec() {
    let (mut client, parked) = parked();
    let mut parked = Some(parked);
    let speak = async {
        for _ in 0..30 {
            get(&mut client).await;
            sleep(REST - Duration::from_millis(100)).await;
        }
    };

    let (silent, ()) = tokio::join!(serve_until_silent(&mut parked), speak);

    assert!(silent.is_some_and(|after| after >= REST * 27), "{silent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_body_is_followed_by_silence_like_any_other() {
    for head in [
        "Content-Length: 2\r\n\r\nhi",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let (mut client, parked) = parked();
        let mut parked = Some(parked);
        let speak = async {
            let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}");
            client.write_all(request.as_bytes()).await.unwrap();
        };

        let (silent, ()) = tokio::join!(serve_until_silent(&mut parked), speak);

        assert!(silent.is_some(), "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn part_of_a_pipelined_request_survives_the_silence() {
    let (mut client, parked) = parked();
    let mut parked = Some(parked);
    let two = format!("{GET}GET /slow HTTP/1.1\r\nHo");
    let speak = async { client.write_all(two.as_bytes()).await.unwrap() };
    let (silent, ()) = tokio::join!(serve_until_silent(&mut parked), speak);
    assert!(silent.is_some());
    let left = parked.as_ref().map(|parked| parked.early.to_vec());
    assert_eq!(left.as_deref(), Some(&b"GET /slow HTTP/1.1\r\nHo"[..]));

    let speak = async {
        sleep(LONG).await;
        client.write_all(b"st: a\r\n\r\n").await.unwrap();
        (answer(&mut client, 2).await, answer(&mut client, 4).await)
    };
    let (_, (_, second)) = tokio::join!(serve_until_silent(&mut parked), speak);

    assert!(second.ends_with("\r\n\r\nslow"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_across_silences() {
    let (mut client, _) = serve(&Drain::new(), |s| s.limits.max_requests = Some(3));
    let mut answers = Vec::new();

    for _ in 0..3 {
        answers.push(get(&mut client).await);
        sleep(LONG).await;
    }

    let closes = |answer: &String| answer.contains("connection: close");
    assert_eq!(
        answers.iter().map(closes).collect::<Vec<_>>(),
        [false, false, true]
    );
}

#[tokio::test(start_paused = true)]
async fn idleness_is_counted_from_the_last_answer_on() {
    let (mut client, events) = serve(&Drain::new(), |s| s.timeouts.idle = Some(LONG));
    get(&mut client).await;
    sleep(LONG / 2).await;
    get(&mut client).await;

    assert_eq!(lifetime(&events).await, LONG.as_secs());
}

#[tokio::test(start_paused = true)]
async fn the_head_after_a_silence_has_its_time_from_its_first_byte_on() {
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
async fn nonsense_after_a_silence_is_answered_as_ever() {
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
async fn a_drain_ends_silent_connections_at_once() {
    let drain = Drain::new();
    let (mut client, _) = serve(&drain, |_| {});
    get(&mut client).await;
    sleep(LONG).await;
    let start = Instant::now();

    drain.start();

    assert!(drain.drained(start + LONG).await);
    assert!(start.elapsed() < REST);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn age_is_counted_from_the_beginning_on() {
    for at_once in [false, true] {
        let (mut client, events) = serve(&Drain::new(), |s| {
            s.limits.max_duration = Some(LONG);
            s.http1.close_at_max_duration = at_once;
        });
        get(&mut client).await;
        sleep(LONG - REST).await;
        let before = events.count("ConnectionClosed");
        sleep(REST * 2).await;

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
async fn a_silent_client_may_leave() {
    let (mut client, events) = serve(&Drain::new(), |_| {});
    get(&mut client).await;
    sleep(LONG).await;

    drop(client);

    assert_eq!(lifetime(&events).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_never_silent() {
    let (mut client, _) = serve(&Drain::new(), |_| {});
    client
        .write_all(
            b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await
        .unwrap();
    answer(&mut client, 0).await;

    for _ in 0..3 {
        sleep(LONG).await;
        client.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        client.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_goes_on_after_its_answer_is_read_to_its_end() {
    let (mut client, events) = serve(&Drain::new(), |_| {});
    client
        .write_all(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\n")
        .await
        .unwrap();
    answer(&mut client, 5).await;

    for _ in 0..5 {
        sleep(REST * 2).await;
        assert_eq!(events.count("ConnectionClosed"), 0);
        client.write_all(b"12345").await.unwrap();
    }

    // Nobody asked for the connection to be kept once the body had outlived its answer.
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever a client pauses, it gets as many answers as it put questions, in their order.
    #[test]
    fn pauses_change_nothing(
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
            let mut answers = String::new();
            let (_, read) = tokio::join!(send, read.read_to_string(&mut answers));
            read.unwrap();
            let bodies = answers.split("HTTP/1.1 200 OK\r\n").skip(1);
            let bodies = bodies.map(|a| a.split_once("\r\n\r\n").unwrap().1.to_owned());
            let expected: Vec<_> = kinds.iter().map(|kind| all[*kind].1.to_owned()).collect();
            prop_assert_eq!(bodies.collect::<Vec<_>>(), expected);
            Ok(())
        })?;
    }
}
