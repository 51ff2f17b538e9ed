//! Copying through memory, with the clock paused.

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

async fn join<A, B>(
    mut client: A,
    mut backend: B,
    idle: Option<Duration>,
    ends: Option<Instant>,
) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let limits = Limits { idle, ends };
    copy(&mut client, &mut backend, limits, &Progress::default()).await
}

const IDLE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_until_both_sides_end() {
    let (mut client, a) = duplex(64);
    let (b, mut backend) = duplex(64);
    let tunnel = tokio::spawn(join(a, b, Some(IDLE), None));

    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    let mut seen = Vec::new();
    backend.read_to_end(&mut seen).await.unwrap();
    backend.write_all(b"pong!").await.unwrap();
    drop(backend);

    assert_eq!(seen, b"ping");
    let ended = tunnel.await.unwrap();
    assert_eq!((ended.received, ended.sent), (4, 5));
    assert_eq!(ended.end, End::Client);
}

#[tokio::test]
async fn the_side_that_ends_first_is_told() {
    let (client, a) = duplex(64);
    let (b, mut backend) = duplex(64);
    let tunnel = tokio::spawn(join(a, b, None, None));

    backend.write_all(b"bye").await.unwrap();
    backend.shutdown().await.unwrap();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    drop(client);
    let ended = tunnel.await.unwrap();

    assert_eq!(ended.end, End::Backend);
    assert_eq!(ended.sent, 3);
}

#[tokio::test(start_paused = true)]
async fn a_silent_tunnel_ends_and_a_slow_one_does_not() {
    let (mut client, a) = duplex(64);
    let (b, _backend) = duplex(64);
    let start = Instant::now();
    let tunnel = tokio::spawn(join(a, b, Some(IDLE), None));

    for _ in 0..4 {
        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        client.write_all(b".").await.unwrap();
    }
    let ended = tunnel.await.unwrap();

    assert_eq!(ended.end, End::Silence);
    assert_eq!(ended.received, 4);
    assert_eq!(start.elapsed(), IDLE * 5 - Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_at_its_time_although_it_moves() {
    let (mut client, a) = duplex(64);
    let (b, _backend) = duplex(64);
    let ends = Instant::now() + IDLE * 2;
    let tunnel = tokio::spawn(join(a, b, Some(IDLE), Some(ends)));

    for _ in 0..3 {
        tokio::time::sleep(IDLE / 2).await;
        client.write_all(b".").await.unwrap();
    }
    let ended = tunnel.await.unwrap();

    assert_eq!((ended.end, ended.received), (End::Age, 3));
    assert_eq!(Instant::now(), ends);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_reads_nothing_holds_the_other_back() {
    let (mut client, a) = duplex(64);
    let (b, _backend) = duplex(64);
    tokio::spawn(join(a, b, None, None));

    let flood = tokio::time::timeout(IDLE, client.write_all(&[0; 1 << 20])).await;

    assert!(flood.is_err(), "no more than the buffers is taken");
}
