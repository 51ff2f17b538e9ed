//! Tests of copies through memory. The clock is paused.

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

async fn join<A, B>(
    mut client: A,
    mut backend: B,
    idle: Option<Duration>,
    deadline: Option<Instant>,
) -> CopyOutcome
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let limits = CopyLimits { idle, deadline };
    copy(&mut client, &mut backend, limits, &CopyProgress::default()).await
}

const IDLE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn bytes_are_copied_in_both_directions_until_both_sides_close() {
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
    let outcome = tunnel.await.unwrap();
    assert_eq!((outcome.received, outcome.sent), (4, 5));
    assert_eq!(outcome.reason, CloseReason::Client);
}

#[tokio::test]
async fn the_side_that_closes_first_is_reported() {
    let (client, a) = duplex(64);
    let (b, mut backend) = duplex(64);
    let tunnel = tokio::spawn(join(a, b, None, None));

    backend.write_all(b"bye").await.unwrap();
    backend.shutdown().await.unwrap();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    drop(client);
    let outcome = tunnel.await.unwrap();

    assert_eq!(outcome.reason, CloseReason::Backend);
    assert_eq!(outcome.sent, 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_is_closed_and_a_slow_one_is_not() {
    let (mut client, a) = duplex(64);
    let (b, _backend) = duplex(64);
    let start = Instant::now();
    let tunnel = tokio::spawn(join(a, b, Some(IDLE), None));

    for _ in 0..4 {
        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        client.write_all(b".").await.unwrap();
    }
    let outcome = tunnel.await.unwrap();

    assert_eq!(outcome.reason, CloseReason::IdleTimeout);
    assert_eq!(outcome.received, 4);
    assert_eq!(start.elapsed(), IDLE * 5 - Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn an_active_tunnel_is_closed_at_its_deadline() {
    let (mut client, a) = duplex(64);
    let (b, _backend) = duplex(64);
    let deadline = Instant::now() + IDLE * 2;
    let tunnel = tokio::spawn(join(a, b, Some(IDLE), Some(deadline)));

    for _ in 0..3 {
        tokio::time::sleep(IDLE / 2).await;
        client.write_all(b".").await.unwrap();
    }
    let outcome = tunnel.await.unwrap();

    assert_eq!(
        (outcome.reason, outcome.received),
        (CloseReason::MaxDuration, 3)
    );
    assert_eq!(Instant::now(), deadline);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_read_blocks_the_other() {
    let (mut client, a) = duplex(64);
    let (b, _backend) = duplex(64);
    tokio::spawn(join(a, b, None, None));

    let flood = tokio::time::timeout(IDLE, client.write_all(&[0; 1 << 20])).await;

    assert!(flood.is_err(), "only the buffers are filled");
}
