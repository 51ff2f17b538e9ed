//! Tests of TCP proxying: how connections are routed.

use super::*;
use crate::plan::Breaker;
use crate::proxy_protocol::ProxyProtocol;

#[tokio::test]
async fn bytes_are_copied_in_both_directions_and_half_closes_are_forwarded() {
    let backend = backend(|mut stream| async move {
        // The backend reads to the end of the connection before it sends.
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let rig = Rig::new(&tcp(vec![simple("a")]), &endpoints(&[("a", &[backend])]));
    let mut client = rig.connect().await;

    client.write_all(b"stressed").await.unwrap();
    client.shutdown().await.unwrap();

    assert_eq!(rest(&mut client).await, "desserts");
    let entry = rig.log.entry().await;
    assert_eq!((entry.bytes_received, entry.bytes_sent), (8, 8));
    assert_eq!(entry.upstream_host, Some(backend.into()));
    assert_eq!(entry.client_port, client.local_addr().unwrap().port());
    assert_eq!(entry.downstream_local, rig.address());
    assert_eq!((entry.method, entry.status), (None, None));
    assert_eq!(&*entry.flags, "");
    assert_eq!(entry.rule.unwrap().route.name, "a");
    eventually(|| rig.log.count("UpstreamClosed") == 1).await;
    eventually(|| rig.log.count("ConnectionClosed") == 1).await;
    assert_eq!(rig.log.count("Stream("), 1);
}

#[tokio::test]
async fn the_backend_may_send_first() {
    let backend = echo("hello").await;
    let rig = Rig::new(&tcp(vec![simple("a")]), &endpoints(&[("a", &[backend])]));
    let mut client = rig.connect().await;

    assert_eq!(read(&mut client, 5).await, "hello");
    client.write_all(b", world").await.unwrap();
    assert_eq!(read(&mut client, 7).await, ", world");
}

#[tokio::test]
async fn large_transfers_are_complete_with_slow_readers() {
    const SIZE: usize = 8 << 20;
    let backend = backend(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let rig = Rig::new(&tcp(vec![simple("a")]), &endpoints(&[("a", &[backend])]));
    let mut client = rig.connect().await;
    let bytes: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();

    soon(client.write_all(&bytes)).await.unwrap();
    client.shutdown().await.unwrap();
    let mut back = Vec::with_capacity(SIZE);
    soon(client.read_to_end(&mut back)).await.unwrap();

    assert!(back == bytes);
}

#[tokio::test]
async fn connections_are_distributed_by_weight_and_those_of_an_invalid_backend_are_closed() {
    let all = [
        ("a", echo("a").await),
        ("b", echo("b").await),
        ("c", echo("c").await),
    ];
    let route = route(
        "r",
        &["*"],
        vec![
            weighted(3, to("a")),
            weighted(1, to("b")),
            weighted(0, to("c")),
            weighted(4, Destination::Invalid),
        ],
    );
    let all = all
        .each_ref()
        .map(|(name, address)| (*name, std::slice::from_ref(address)));
    let rig = Rig::new(&tcp(vec![route]), &endpoints(&all));

    let (mut counts, n) = ([0usize; 4], 480);
    for _ in 0..n {
        let mut client = rig.connect().await;
        let _ = client.shutdown().await;
        let place = match rest(&mut client).await.as_str() {
            "a" => 0,
            "b" => 1,
            "c" => 2,
            "" => 3,
            other => panic!("{other}"),
        };
        counts[place] += 1;
    }

    // The expected counts are 3/8, 1/8 and 4/8 of 480. The tolerance is five standard deviations: 53, 36 and
    // 55.
    assert!(counts[0].abs_diff(180) <= 53, "{counts:?}");
    assert!(counts[1].abs_diff(60) <= 36, "{counts:?}");
    assert_eq!(counts[2], 0);
    assert!(counts[3].abs_diff(240) <= 55, "{counts:?}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_skipped() {
    let (dead, live) = (closed(), echo("live").await);
    let rig = Rig::new(&tcp(vec![simple("a")]), &endpoints(&[("a", &[dead, live])]));

    for _ in 0..20 {
        let mut client = rig.connect().await;
        assert_eq!(read(&mut client, 4).await, "live");
    }

    assert!(rig.log.count("Retried") > 0);
    assert_eq!(
        rig.log.count("Retried"),
        rig.log.count("UpstreamConnectFailed")
    );
}

#[tokio::test]
async fn a_connection_without_a_route_or_endpoint_is_closed_at_once() {
    let no_backends = route("none", &["*"], Vec::new());
    let cases = [
        (tcp(Vec::new()), "NR"),
        (tcp(vec![no_backends]), "NC"),
        (tcp(vec![simple("empty")]), "UH"),
        (tcp(vec![simple("dead")]), "UF,URX"),
    ];
    for (plan, flags) in cases {
        let rig = Rig::new(&plan, &endpoints(&[("dead", &[closed()])]));

        assert_eq!(rest(&mut rig.connect().await).await, "", "{flags}");

        assert_eq!(rig.log.entry().await.flags, flags);
    }
}

#[tokio::test]
async fn a_failed_listener_closes_all_connections() {
    let backend = echo("open").await;
    let mut plan = tcp(vec![simple("a")]);
    plan.ports[0].listeners[0].failed = true;
    let rig = Rig::new(&plan, &endpoints(&[("a", &[backend])]));

    assert_eq!(rest(&mut rig.connect().await).await, "");
}

#[tokio::test]
async fn the_oldest_of_several_routes_takes_precedence() {
    let (old, new) = (echo("old").await, echo("new").await);
    let all = endpoints(&[("old", &[old]), ("new", &[new])]);
    let rig = Rig::new(&tcp(vec![simple("old"), simple("new")]), &all);

    for _ in 0..10 {
        assert_eq!(read(&mut rig.connect().await, 3).await, "old");
    }
}

#[tokio::test]
async fn the_connection_limit_of_the_listener_applies() {
    let backend = echo("in").await;
    let mut plan = tcp(vec![simple("a")]);
    let settings = &mut plan.ports[0].listeners[0].settings;
    Arc::make_mut(settings).limits.connections = Some(1);
    let rig = Rig::new(&plan, &endpoints(&[("a", &[backend])]));

    let mut first = rig.connect().await;
    assert_eq!(read(&mut first, 2).await, "in");
    assert_eq!(rest(&mut rig.connect().await).await, "");
    assert_eq!(rig.log.count("ConnectionRefused"), 1);
    drop(first);
    eventually(|| rig.log.count("ConnectionClosed") == 2).await;

    assert_eq!(read(&mut rig.connect().await, 2).await, "in");
}

#[tokio::test]
async fn the_connection_limit_of_the_breaker_applies() {
    let backend = echo("in").await;
    let route = with_traffic(simple("a"), |traffic| {
        traffic.breaker = Breaker {
            connections: 1,
            ..Breaker::default()
        };
    });
    let rig = Rig::new(&tcp(vec![route]), &endpoints(&[("a", &[backend])]));

    let mut first = rig.connect().await;
    assert_eq!(read(&mut first, 2).await, "in");
    assert_eq!(rest(&mut rig.connect().await).await, "");
    assert_eq!(rig.log.entry().await.flags, "UO");
    assert_eq!(rig.log.count("Overflowed"), 1);
    drop(first);
    eventually(|| rig.log.count("UpstreamClosed") == 1).await;

    assert_eq!(read(&mut rig.connect().await, 2).await, "in");
}

#[tokio::test]
async fn a_proxy_header_sets_the_client_and_the_bytes_after_it_are_forwarded() {
    let backend = echo("-").await;
    let mut plan = tcp(vec![simple("a")]);
    plan.ports[0].tcp.proxy_protocol = Some(ProxyProtocol::default());
    let rig = Rig::new(&plan, &endpoints(&[("a", &[backend])]));

    let mut client = rig.connect().await;
    let bytes = b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\nfirst";
    client.write_all(bytes).await.unwrap();
    assert_eq!(read(&mut client, 6).await, "-first");
    drop(client);

    let entry = rig.log.entry().await;
    assert_eq!(
        (entry.client, entry.client_port),
        ([192, 0, 2, 7].into(), 1234)
    );
    let mut other = rig.connect().await;
    other
        .write_all(b"no header at all, but long enough")
        .await
        .unwrap();
    assert_eq!(rest(&mut other).await, "");
    eventually(|| rig.log.count("ProxyRejected") == 1).await;
}
