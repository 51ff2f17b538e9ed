//! The end of serving.

use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn idle_connections_close_at_once_and_running_requests_finish() {
    let rig = Rig::plain(|_| {}).await;
    let mut idle = rig.connect().await;
    idle.send(GET).await;
    idle.answer().await;
    let mut fresh = rig.connect().await;
    let mut busy = rig.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(|| rig.events.count("ConnectionOpened") == 3)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;

    rig.drain.start();

    assert_eq!(idle.rest().await, "");
    assert_eq!(fresh.rest().await, "");
    let (head, body) = busy.answer().await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "slow");
    assert_eq!(busy.rest().await, "");
    assert!(rig.drain.drained(Instant::now() + SOON).await);
    assert!(TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_end_is_waited_for_until_the_deadline() {
    let rig = Rig::plain(|_| {}).await;
    let mut client = rig.connect().await;
    client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    rig.events.expect("ConnectionOpened").await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    rig.drain.start();

    let in_time = rig
        .drain
        .drained(Instant::now() + Duration::from_millis(200))
        .await;
    assert!(!in_time);
    assert_eq!(rig.drain.running(), 1);
}

#[tokio::test]
async fn leaving_goes_on_serving() {
    let rig = Rig::plain(|_| {}).await;

    rig.drain.leave();
    let mut client = rig.connect().await;
    client.send(GET).await;
    let (head, _) = client.answer().await;

    assert!(head.starts_with("http/1.1 200"));
    assert!(!head.contains("connection: close"));
    assert!(rig.drain.is_leaving());
}
