//! Many endpoints and workers with constant changes.

use super::backend::{Backend, answer, raw};
use super::*;
use crate::breaker::Resource;
use crate::plan::{CookieHash, HashKey, LoadBalancer, Retry, RetryOn};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn endpoints_are_replaced_without_a_failed_request() {
    let backends = futures_util::future::join_all((0..8).map(|_| Backend::plain("ok"))).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let rig = Arc::new(Rig::new(Traffic::default(), &addresses[..2]));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    assert_eq!(rig.fetch().await.0, 200);
                }
            })
        })
        .collect();

    let mut step = 0;
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        let some: Vec<_> = (0..3).map(|n| addresses[(step + n) % 8]).collect();
        rig.clusters
            .update(&Endpoints::from([(id("a"), endpoints(&some))]));
        step += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Pending), 0);
    let opened: usize = backends.iter().map(Backend::accepts).sum();
    assert_eq!(rig.observer.count("UpstreamConnected"), opened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_retries_failing_endpoints_cause_no_errors() {
    let good = Backend::plain("ok").await;
    let bad = Backend::start(vec![vec![raw("")]]).await;
    let slow = Backend::start(vec![vec![answer(503, "no")]]).await;
    let traffic = Traffic {
        retry: Some(Retry {
            attempts_per_priority: None,
            retries: 2,
            on: RetryOn {
                reset: true,
                server_error: true,
                ..Default::default()
            },
            base_interval: Duration::from_micros(100),
            min_interval: Duration::ZERO,
            max_interval: None,
            attempt_timeout: None,
        }),
        ..Default::default()
    };
    let rig = Arc::new(Rig::new(
        traffic,
        &[good.address, bad.address, slow.address],
    ));

    let clients = (0..4).map(|_| {
        let rig = rig.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                assert_eq!(rig.fetch().await, (200, "ok".to_owned()));
            }
        })
    });

    for client in futures_util::future::join_all(clients).await {
        client.unwrap();
    }
    assert_eq!(good.seen().len(), 200);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Retry), 0);
    assert_eq!(
        rig.observer.count("Retried"),
        bad.seen().len() + slow.seen().len(),
        "each request is retried only after a failure"
    );
}

#[tokio::test]
async fn a_cookie_keeps_a_client_on_its_endpoint() {
    let backends = futures_util::future::join_all(["0", "1", "2"].map(Backend::plain)).await;
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let traffic = Traffic {
        load_balancer: LoadBalancer::ConsistentHash {
            key: HashKey::Cookie(CookieHash {
                name: "sid".to_owned(),
                ttl: Some(Duration::from_secs(60)),
                attributes: Vec::new(),
            }),
            table_size: 1031,
        },
        ..Default::default()
    };
    let rig = Rig::new(traffic, &addresses);

    for _ in 0..10 {
        let first = rig.forward(get("/")).await.unwrap();
        let cookie = first.set_cookie.unwrap();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        let mut request = get("/");
        request
            .headers_mut()
            .insert("cookie", pair.parse().unwrap());
        let again = rig.forward(request).await.unwrap();

        assert_eq!(again.endpoint, first.endpoint);
        assert!(again.set_cookie.is_none());
    }
}
