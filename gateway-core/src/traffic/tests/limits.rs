//! Circuit breaker limits and requests that wait for a connection.

use super::backend::{Backend, Step, answer};
use super::*;
use crate::breaker::Resource;
use crate::plan::Breaker;

fn limited(breaker: Breaker) -> Traffic {
    Traffic {
        breaker,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_limit_of_zero_rejects_every_request() {
    let backend = Backend::plain("ok").await;
    for breaker in [
        Breaker {
            requests: 0,
            ..Default::default()
        },
        Breaker {
            pending: 0,
            ..Default::default()
        },
        Breaker {
            connections: 0,
            ..Default::default()
        },
        Breaker {
            connections_per_endpoint: Some(0),
            ..Default::default()
        },
    ] {
        let rig = Rig::new(limited(breaker), &[backend.address]);

        let answer = rig.failed_reply(get("/")).await;

        assert_eq!((answer.status.as_u16(), answer.flag), (503, "UO"));
        assert_eq!(
            answer.body,
            "upstream connect error or disconnect/reset before headers. reset reason: overflow"
        );
        assert_eq!(rig.observer.count("Overflowed"), 1);
        assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
    }
    assert_eq!(backend.accepts(), 0);
}

#[tokio::test]
async fn requests_wait_for_the_only_connection() {
    let step = vec![Step::Pause(Duration::from_millis(2)), answer(200, "x")];
    let backend = Backend::start(vec![step]).await;
    let only = Breaker {
        connections: 1,
        ..Default::default()
    };
    let rig = Rig::new(limited(only), &[backend.address]);

    let all = futures_util::future::join_all((0..30).map(|_| rig.fetch())).await;

    assert!(all.iter().all(|(status, _)| *status == 200));
    assert_eq!(backend.accepts(), 1);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Pending), 0);
}

#[tokio::test]
async fn the_number_of_waiting_requests_is_limited() {
    let step = vec![Step::Pause(Duration::from_millis(50)), answer(200, "x")];
    let backend = Backend::start(vec![step]).await;
    let few = Breaker {
        connections: 1,
        pending: 2,
        ..Default::default()
    };
    let rig = Rig::new(limited(few), &[backend.address]);
    rig.fetch().await;

    let attempts = (0..10).map(|_| async {
        let forwarded = rig.forward(get("/")).await.ok()?;
        Some(read(forwarded.response).await)
    });
    let all = futures_util::future::join_all(attempts).await;

    let refused = all.iter().filter(|result| result.is_none()).count();
    assert_eq!(refused, 7, "one uses the connection, two wait");
}

#[tokio::test]
async fn an_idle_connection_to_another_endpoint_is_closed_to_make_room() {
    let (first, second) = (Backend::plain("1").await, Backend::plain("2").await);
    let mut traffic = limited(Breaker {
        connections: 1,
        ..Default::default()
    });
    traffic.load_balancer = crate::plan::LoadBalancer::RoundRobin;
    let rig = Rig::new(traffic, &[first.address, second.address]);

    for _ in 0..4 {
        rig.fetch().await;
    }

    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 1);
}

#[tokio::test]
async fn connections_per_endpoint_are_limited() {
    let step = vec![Step::Pause(Duration::from_millis(5)), answer(200, "x")];
    let backend = Backend::start(vec![step]).await;
    let two = Breaker {
        connections_per_endpoint: Some(2),
        ..Default::default()
    };
    let rig = Rig::new(limited(two), &[backend.address]);

    futures_util::future::join_all((0..12).map(|_| rig.fetch())).await;

    assert_eq!(backend.accepts(), 2);
}

#[tokio::test]
async fn rules_with_the_same_transport_share_connections_but_not_limits() {
    let backend = Backend::plain("ok").await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    let other = Forwarder::new(
        "other rule",
        Arc::new(Traffic::default()),
        &[super::backend(1, service("a", BackendProtocol::Http1))],
        &rig.live,
        &towergate_tls::default_provider(),
    );
    let observer: Arc<dyn Observer> = rig.observer.clone();
    let context = ForwardContext {
        client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        observer: &observer,
        envoy_headers: false,
        preserve_header_case: false,
        upgrade: None,
        connection: None,
    };

    rig.fetch().await;
    read(other.forward(&context, get("/")).await.unwrap().response).await;

    assert_eq!(backend.accepts(), 1);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 0);
    assert_eq!(other.breaker.in_use(Resource::Connection), 1);
}

#[tokio::test]
async fn a_rule_keeps_its_counters_over_a_configuration_change() {
    let backend = Backend::start(vec![vec![Step::Hang]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    let hanging = rig.forward(get("/"));
    let mut hanging = std::pin::pin!(hanging);
    assert!(futures_util::poll!(hanging.as_mut()).is_pending());

    let again = Forwarder::new(
        "rule",
        Arc::new(Traffic {
            request_timeout: None,
            ..Default::default()
        }),
        &[],
        &rig.live,
        &towergate_tls::default_provider(),
    );

    assert_eq!(again.breaker.in_use(Resource::Request), 1);
}

#[tokio::test]
async fn backends_receive_requests_by_weight() {
    let backends = [
        Backend::plain("0").await,
        Backend::plain("1").await,
        Backend::plain("2").await,
    ];
    let weights = [0, 1, 3];
    let names = ["zero", "one", "three"];
    let shares: Vec<_> = weights
        .iter()
        .zip(names)
        .map(|(weight, name)| super::backend(*weight, service(name, BackendProtocol::Http1)))
        .collect();
    let rig = Rig::with(Traffic::default(), &shares);
    let all = names.iter().zip(&backends);
    let all = all.map(|(name, backend)| (id(name), endpoints(&[backend.address])));
    rig.clusters.update(&all.collect());
    fastrand::seed(11);
    let n = 800;

    for _ in 0..n {
        rig.fetch().await;
    }

    assert_eq!(backends[0].seen().len(), 0);
    // The backend is expected to receive a quarter of 800 requests. The tolerance is three standard
    // deviations.
    assert!(backends[1].seen().len().abs_diff(n / 4) <= 37);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_share_a_limit_and_every_request_completes() {
    let (first, second) = (Backend::plain("1").await, Backend::plain("2").await);
    let two = Breaker {
        connections: 2,
        ..Default::default()
    };
    let rig = Arc::new(Rig::new(limited(two), &[first.address, second.address]));

    let clients: Vec<_> = (0..16)
        .map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    assert_eq!(rig.fetch().await.0, 200);
                }
            })
        })
        .collect();

    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Pending), 0);
    assert!(rig.forwarder.breaker.in_use(Resource::Connection) <= 2);
}
