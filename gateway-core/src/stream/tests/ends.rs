//! Tests of TCP proxying: how connections are closed.

use tokio::time::Instant;

use super::*;

/// Reads once. Returns the number of bytes, or the kind of error.
async fn end_of(mut stream: TcpStream) -> Result<usize, std::io::ErrorKind> {
    let mut byte = [0; 16];
    soon(stream.read(&mut byte))
        .await
        .map_err(|error| error.kind())
}

fn abort(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

const RESET: Result<usize, std::io::ErrorKind> = Err(std::io::ErrorKind::ConnectionReset);

#[tokio::test]
async fn a_reset_by_the_client_is_forwarded_to_the_backend() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let backend = backend(move |stream| {
        let tell = tell.clone();
        async move {
            tell.send(end_of(stream).await).unwrap();
        }
    })
    .await;
    let rig = Rig::new(&tcp(vec![simple("a")]), &endpoints(&[("a", &[backend])]));

    let client = rig.connect().await;
    eventually(|| rig.log.count("UpstreamConnected") == 1).await;
    abort(client);
    assert_eq!(soon(told.recv()).await, Some(RESET));

    let client = rig.connect().await;
    drop(client);
    assert_eq!(
        soon(told.recv()).await,
        Some(Ok(0)),
        "an orderly close is forwarded as one"
    );
}

#[tokio::test]
async fn a_reset_by_the_backend_is_forwarded_to_the_client() {
    let backend = backend(|mut stream| async move {
        let _ = stream.read_u8().await;
        abort(stream);
    })
    .await;
    let rig = Rig::new(&tcp(vec![simple("a")]), &endpoints(&[("a", &[backend])]));

    let mut client = rig.connect().await;
    client.write_all(b"x").await.unwrap();

    assert_eq!(end_of(client).await, RESET);
    let entry = rig.log.entry().await;
    assert_eq!(&*entry.details, "upstream_remote_disconnect");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_timeout() {
    let backend = echo("hello").await;
    let mut plan = tcp(vec![simple("a")]);
    let settings = &mut plan.ports[0].listeners[0].settings;
    Arc::make_mut(settings).timeouts.idle = Some(Duration::from_millis(100));
    let rig = Rig::new(&plan, &endpoints(&[("a", &[backend])]));

    assert_eq!(rest(&mut rig.connect().await).await, "hello");
    assert_eq!(&*rig.log.entry().await.details, "idle_timeout");
}

#[tokio::test]
async fn a_connection_is_closed_at_its_maximum_duration() {
    let backend = echo("hello").await;
    let mut plan = tcp(vec![simple("a")]);
    let settings = &mut plan.ports[0].listeners[0].settings;
    Arc::make_mut(settings).limits.max_duration = Some(Duration::from_millis(100));
    let rig = Rig::new(&plan, &endpoints(&[("a", &[backend])]));

    assert_eq!(rest(&mut rig.connect().await).await, "hello");
    assert_eq!(rig.log.entry().await.flags, "DT");
}

#[tokio::test]
async fn open_connections_survive_a_route_change_and_new_ones_use_the_new_route() {
    let (old, new) = (echo("old").await, echo("new").await);
    let all = endpoints(&[("old", &[old]), ("new", &[new])]);
    let rig = Rig::new(&tcp(vec![simple("old")]), &all);
    let mut before = rig.connect().await;
    assert_eq!(read(&mut before, 3).await, "old");

    rig.gateway.apply(&tcp(vec![simple("new")])).unwrap();
    rig.gateway.set_endpoints(&endpoints(&[("new", &[new])]));

    assert_eq!(read(&mut rig.connect().await, 3).await, "new");
    before.write_all(b"still").await.unwrap();
    assert_eq!(read(&mut before, 5).await, "still");
    rig.gateway.apply(&Plan::<NoPolicy>::default()).unwrap();
    before.write_all(b"there").await.unwrap();
    assert_eq!(read(&mut before, 5).await, "there");
}

#[tokio::test]
async fn no_connection_is_lost_while_plans_change() {
    let (a, b) = (echo("a").await, echo("b").await);
    let all = endpoints(&[("a", &[a]), ("b", &[b])]);
    let rig = Rig::new(&tcp(vec![simple("a")]), &all);

    for n in 0..100 {
        let name = ["a", "b"][n % 2];
        let connecting = rig.connect();
        rig.gateway.apply(&tcp(vec![simple(name)])).unwrap();
        let mut client = connecting.await;
        client.write_all(b"!").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await.len(), 2);
    }
}

#[tokio::test]
async fn a_drain_accepts_no_connections_and_closes_open_ones_at_the_deadline() {
    let backend = echo("in").await;
    let rig = Rig::new(&tcp(vec![simple("a")]), &endpoints(&[("a", &[backend])]));
    let address = rig.address();
    let mut client = rig.connect().await;
    assert_eq!(read(&mut client, 2).await, "in");

    rig.gateway.drain().start();
    // The worker closes the socket asynchronously, so the test waits until connecting fails.
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    soon(refused).await;
    client.write_all(b"more").await.unwrap();
    assert_eq!(read(&mut client, 4).await, "more");
    let whole = rig
        .gateway
        .stop(Instant::now() + Duration::from_millis(50))
        .await;

    assert!(!whole, "a connection was closed at the deadline");
    assert_eq!(rest(&mut client).await, "");
    let port = client.local_addr().unwrap().port();
    let entry = rig.log.entry_of(port).await;
    assert_eq!((entry.bytes_received, entry.bytes_sent), (4, 6));
    assert_eq!(&*entry.details, "local_close");
}
