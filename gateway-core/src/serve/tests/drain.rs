//! Graceful shutdown.

use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn a_drain_closes_idle_connections_at_once_and_completes_running_requests() {
    let rig = Rig::plain(|_| {}).await;
    let mut idle = rig.connect().await;
    idle.send(GET).await;
    idle.response().await;
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
    let (head, body) = busy.response().await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "slow");
    assert_eq!(busy.rest().await, "");
    assert!(rig.drain.drained(Instant::now() + SOON).await);
    assert!(TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn a_drain_waits_for_running_requests_until_the_deadline() {
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
async fn a_leaving_gateway_still_serves() {
    let rig = Rig::plain(|_| {}).await;

    rig.drain.leave();
    let mut client = rig.connect().await;
    client.send(GET).await;
    let (head, _) = client.response().await;

    assert!(head.starts_with("http/1.1 200"));
    assert!(!head.contains("connection: close"));
    assert!(rig.drain.is_leaving());
}

#[tokio::test]
async fn a_drain_waits_for_tunnels() {
    let (rig, backend) = (Rig::plain(|_| {}).await, Rig::plain(|_| {}).await);
    let mut client = rig.connect().await;
    let port = backend.address.port();
    client
        .send(format!(
            "GET /tunnel?{port} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        ))
        .await;
    let (head, _) = client.response().await;

    rig.drain.start();
    let early = rig
        .drain
        .drained(Instant::now() + Duration::from_millis(100))
        .await;
    client.send("ping").await;
    let mut echo = [0; 4];
    soon(client.0.read_exact(&mut echo)).await.unwrap();
    client.0.shutdown().await.unwrap();
    let late = rig.drain.drained(Instant::now() + SOON).await;

    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(!early);
    assert_eq!(&echo, b"ping");
    assert_eq!(client.rest().await, "");
    assert!(late);
}

#[tokio::test]
async fn connections_in_the_accept_queue_are_served_during_a_drain() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        client.send(GET).await;
        clients.push(client);
    }
    let listener = listener_config(|_| {});
    let config = PortConfig {
        slot: 0,
        port: address.port(),
        tcp: TcpSettings::default(),
        protocol: PortProtocol::Plain(listener),
    };
    let server = Server {
        handler: TestHandler,
        stream_log: Arc::new(()),
        observer: Arc::new(()),
    };
    let drain = Drain::new();

    drain.start();
    serve_listener(
        socket,
        Arc::new(ArcSwap::from_pointee(config)),
        server,
        drain,
    )
    .await;

    for mut client in clients {
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}
