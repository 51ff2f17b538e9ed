//! Retries. Expected responses are recorded from Envoy.

use std::num::NonZeroU32;

use super::backend::{Backend, Step, answer, raw};
use super::*;
use crate::plan::{Breaker, Retry, RetryOn};

fn retrying(retries: u32, on: RetryOn) -> Traffic {
    Traffic {
        retry: Some(Retry {
            retries,
            attempts_per_priority: None,
            on,
            base_interval: Duration::from_millis(1),
            min_interval: Duration::ZERO,
            max_interval: None,
            attempt_timeout: None,
        }),
        ..Default::default()
    }
}

/// Retry triggers that Envoy Gateway sets by default.
fn default_on() -> RetryOn {
    RetryOn {
        connect_failure: true,
        refused_stream: true,
        statuses: vec![503],
        grpc_statuses: vec![1, 14],
        ..Default::default()
    }
}

fn reset_and_5xx() -> RetryOn {
    RetryOn {
        reset: true,
        server_error: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_status_is_retried_up_to_the_limit() {
    let rows = [
        (default_on(), 503, 3, "URX"),
        (default_on(), 500, 1, ""),
        (default_on(), 429, 1, ""),
        (reset_and_5xx(), 500, 3, "URX"),
        (reset_and_5xx(), 404, 1, ""),
    ];
    for (on, status, attempts, flags) in rows {
        let backend = Backend::start(vec![vec![answer(status, "no")]]).await;
        let rig = Rig::new(retrying(2, on), &[backend.address]);

        let forwarded = rig.forward(get("/")).await.unwrap();

        assert_eq!(
            (forwarded.attempts, forwarded.flags),
            (attempts, flags),
            "{status}"
        );
        assert_eq!(read(forwarded.response).await, (status, "no".to_owned()));
        assert_eq!(backend.seen().len(), attempts as usize);
        assert_eq!(
            backend.accepts(),
            1,
            "the connection of a discarded response is reused"
        );
        assert_eq!(rig.observer.count("Retried"), attempts as usize - 1);
    }
}

#[tokio::test]
async fn a_successful_retry_sets_no_flag() {
    let backend = Backend::start(vec![vec![answer(503, "no")], vec![answer(200, "yes")]]).await;
    let rig = Rig::new(retrying(2, default_on()), &[backend.address]);

    let forwarded = rig.forward(post("body")).await.unwrap();

    assert_eq!((forwarded.attempts, forwarded.flags), (2, ""));
    assert_eq!(read(forwarded.response).await, (200, "yes".to_owned()));
    assert_eq!(backend.seen()[0], backend.seen()[1]);
    assert!(backend.seen()[1].ends_with("content-length: 4\r\n\r\nbody"));
}

#[tokio::test]
async fn a_terminated_connection_is_retried_only_with_reset() {
    for (on, attempts, flag) in [(default_on(), 1, "UC"), (reset_and_5xx(), 3, "URX,UC")] {
        let backend = Backend::start(vec![vec![raw("")]]).await;
        let rig = Rig::new(retrying(2, on), &[backend.address]);

        let answer = rig.failed_reply(get("/")).await;

        assert_eq!(backend.seen().len(), attempts);
        assert_eq!((answer.status.as_u16(), answer.flag), (503, flag));
        let retried = String::from_utf8_lossy(&answer.body)
            .contains("headers. retried and the latest reset reason: connection termination");
        assert_eq!(retried, attempts > 1, "{:?}", answer.body);
    }
}

/// Gateway API's conformance suite accepts 500 and 503 for a reset connection, but not 502.
#[tokio::test]
async fn a_connection_that_is_reset_before_the_response_is_503() {
    let backend = Backend::start(vec![vec![Step::Reset]]).await;
    for request in [get("/"), post("body")] {
        let rig = Rig::new(retrying(2, reset_and_5xx()), &[backend.address]);

        let failure = rig.forward(request).await.unwrap_err();

        let answer = failure.error.reply();
        assert_eq!((answer.status.as_u16(), answer.flag), (503, "URX,UC"));
        assert_eq!(failure.attempts, 3);
    }
}

#[tokio::test]
async fn a_refused_connection_is_503_after_the_last_retry() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let rig = Rig::new(retrying(2, default_on()), &[address]);

    let failure = rig.forward(get("/")).await.unwrap_err();

    let answer = failure.error.reply();
    assert_eq!((answer.status.as_u16(), answer.flag), (503, "URX,UF"));
    assert_eq!(failure.attempts, 3);
}

#[tokio::test]
async fn a_refused_connection_is_retried_on_another_endpoint() {
    let backend = Backend::plain("ok").await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let rig = Rig::new(retrying(1, default_on()), &[address, backend.address]);

    for _ in 0..20 {
        assert_eq!(rig.fetch().await.0, 200);
    }

    assert!(rig.observer.count("Retried") > 0);
}

/// The rule of a test of priorities: `a` refuses connections, `b` is the backend of last resort.
async fn priorities(attempts_per_priority: u32, b: SocketAddr) -> Rig {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let mut traffic = retrying(3, default_on());
    let retry = traffic.retry.as_mut().unwrap();
    retry.attempts_per_priority = NonZeroU32::new(attempts_per_priority);
    let last_resort = PlanBackend {
        id: id("b"),
        protocol: BackendProtocol::Http1,
        tls: None,
        hosts: Vec::new(),
        fallback: true,
        dynamic: None,
    };
    let backends = [
        backend(1, service("a", BackendProtocol::Http1)),
        backend(1, Destination::Backend(Arc::new(last_resort))),
    ];
    let rig = Rig::with(traffic, &backends);
    rig.clusters.update(&Endpoints::from([
        (id("a"), endpoints(&[address])),
        (id("b"), endpoints(&[b])),
    ]));
    rig
}

#[tokio::test]
async fn retries_move_to_the_next_priority_after_its_number_of_attempts() {
    for (attempts_per_priority, attempts) in [(1, 2), (2, 3), (3, 4)] {
        let backend = Backend::plain("ok").await;
        let rig = priorities(attempts_per_priority, backend.address).await;

        let forwarded = rig.forward(post("body")).await.unwrap();

        assert_eq!((forwarded.attempts, forwarded.flags), (attempts, ""));
        assert_eq!(forwarded.endpoint, backend.address.into());
        assert!(backend.seen()[0].ends_with("content-length: 4\r\n\r\nbody"));
    }
}

#[tokio::test]
async fn retries_return_to_the_first_priority_after_the_last_one() {
    let backend = Backend::start(vec![vec![answer(503, "no")]]).await;
    let rig = priorities(1, backend.address).await;

    let forwarded = rig.forward(get("/")).await.unwrap();

    assert_eq!((forwarded.attempts, forwarded.flags), (4, "URX"));
    assert_eq!(backend.seen().len(), 2, "attempts 2 and 4");
}

#[tokio::test]
async fn retries_keep_the_priority_without_a_number_of_attempts() {
    let backend = Backend::plain("ok").await;
    let rig = priorities(0, backend.address).await;

    let failure = rig.forward(get("/")).await.unwrap_err();

    assert_eq!(failure.attempts, 4);
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn an_attempt_that_times_out_is_retried() {
    let mut traffic = retrying(
        1,
        RetryOn {
            server_error: true,
            ..Default::default()
        },
    );
    traffic.retry.as_mut().unwrap().attempt_timeout = Some(Duration::from_millis(40));
    let backend = Backend::start(vec![
        vec![Step::Hang],
        vec![answer(200, "ok")],
        vec![Step::Hang],
    ])
    .await;
    let rig = Rig::new(traffic, &[backend.address]);

    assert_eq!(rig.fetch().await.0, 200);
    let answer = rig.failed_reply(get("/")).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (504, "URX,UT"));
    assert_eq!(answer.body, "upstream request timeout");
    assert_eq!(answer.details, "upstream_per_try_timeout");
    assert_eq!(backend.seen().len(), 4);
}

#[tokio::test]
async fn a_long_body_is_sent_once() {
    let backend = Backend::start(vec![vec![answer(503, "no")]]).await;
    let rig = Rig::new(retrying(5, default_on()), &[backend.address]);
    let (sender, body) = streamed();
    for _ in 0..3 {
        sender.send(Ok(vec![b'x'; 30_000].into())).unwrap();
    }
    drop(sender);

    let forwarded = rig.forward(post(body)).await.unwrap();

    assert_eq!(forwarded.attempts, 1);
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn a_failed_client_body_is_not_retried() {
    let backend = Backend::plain("ok").await;
    let everything = RetryOn {
        connect_failure: true,
        gateway_error: true,
        ..reset_and_5xx()
    };
    let rig = Rig::new(retrying(5, everything), &[backend.address]);
    let (sender, body) = streamed();
    sender.send(Err(std::io::Error::other("gone"))).unwrap();

    let failure = rig.forward(post(body)).await.unwrap_err();

    assert_eq!(failure.attempts, 1);
    assert_eq!(failure.error.reply().status, 400);
}

#[tokio::test]
async fn concurrent_retries_are_limited() {
    let backend = Backend::start(vec![vec![answer(503, "no")]]).await;
    let mut traffic = retrying(5, default_on());
    traffic.breaker = Breaker {
        retries: 0,
        ..Default::default()
    };
    let rig = Rig::new(traffic, &[backend.address]);

    let forwarded = rig.forward(get("/")).await.unwrap();

    assert_eq!((forwarded.attempts, forwarded.flags), (1, "UO"));
    assert_eq!(read(forwarded.response).await.0, 503);
}

#[tokio::test]
async fn the_request_timeout_covers_all_attempts() {
    let mut traffic = retrying(1000, default_on());
    traffic.request_timeout = Some(Duration::from_millis(100));
    let backend = Backend::start(vec![vec![answer(503, "no")]]).await;
    let rig = Rig::new(traffic, &[backend.address]);

    let failure = rig.forward(get("/")).await.unwrap_err();

    assert_eq!(failure.error.reply().flag, "UT");
    assert!(failure.attempts > 1);
}

#[tokio::test]
async fn envoy_headers_carry_the_expected_timeout_and_the_service_time() {
    let backend = Backend::start(vec![vec![answer(503, "no")], vec![answer(200, "ok")]]).await;
    let rig = Rig::new(retrying(2, default_on()), &[backend.address]);
    let observer: Arc<dyn Observer> = rig.observer.clone();
    let context = ForwardContext {
        client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        observer: &observer,
        envoy_headers: true,
        preserve_header_case: false,
        upgrade: None,
        connection: None,
    };

    let forwarded = rig.forwarder.forward(&context, get("/")).await.unwrap();

    let took = &forwarded.response.headers()["x-envoy-upstream-service-time"];
    assert!(took.to_str().unwrap().parse::<u64>().unwrap() < 15_000);
    let allowed: Vec<u64> = backend
        .seen()
        .iter()
        .map(|head| {
            let value = head
                .split("x-envoy-expected-rq-timeout-ms: ")
                .nth(1)
                .unwrap();
            value.lines().next().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(allowed[0], 15_000);
    assert!(
        allowed[1] < 15_000,
        "the second attempt has the remaining time"
    );
}

#[tokio::test]
async fn an_early_response_to_an_upload_is_retried_with_the_whole_body() {
    let backend = Backend::start(vec![vec![answer(503, "no")], vec![answer(200, "ok")]]).await;
    let rig = Rig::new(retrying(2, default_on()), &[backend.address]);
    let (sender, body) = streamed();
    sender.send(Ok("abc".into())).unwrap();
    let mut request = post(body);
    request
        .headers_mut()
        .insert("x-early", "1".parse().unwrap());

    let forwarding = rig.forward(request);
    let rest = async {
        until(|| backend.accepts() == 2).await;
        sender.send(Ok("def".into())).unwrap();
        drop(sender);
    };
    let (forwarded, ()) = tokio::join!(forwarding, rest);

    assert_eq!(forwarded.unwrap().attempts, 2);
    assert_eq!(
        backend.accepts(),
        2,
        "a connection with an incomplete request is not reused"
    );
}

#[tokio::test]
async fn a_retry_budget_replaces_the_limit() {
    let backend = Backend::start(vec![vec![answer(503, "no")]]).await;
    for (min_retries, attempts, flags) in [(0, 1, "UO"), (1, 3, "URX")] {
        let mut traffic = retrying(2, default_on());
        traffic.breaker = Breaker {
            retries: 1 - min_retries,
            retry_budget: Some(crate::plan::RetryBudget {
                numerator: 50,
                denominator: 100,
                min_retries,
            }),
            ..Default::default()
        };
        let rig = Rig::new(traffic, &[backend.address]);

        let forwarded = rig.forward(get("/")).await.unwrap();

        assert_eq!((forwarded.attempts, forwarded.flags), (attempts, flags));
    }
}
