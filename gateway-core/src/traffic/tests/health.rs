//! Outlier detection and active health checks.

use super::backend::{Backend, answer};
use super::*;

#[tokio::test]
async fn failing_endpoints_receive_no_requests() {
    let fine = Backend::plain("fine").await;
    let broken = Backend::start(vec![vec![answer(500, "broken")]]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let traffic = Traffic {
        load_balancer: crate::plan::LoadBalancer::RoundRobin,
        outlier: Some(crate::plan::OutlierDetection {
            consecutive_5xx: 2,
            max_percent: 100,
            ..Default::default()
        }),
        panic_threshold: 0,
        ..Default::default()
    };
    let rig = Rig::new(traffic, &[fine.address, broken.address, closed]);

    for _ in 0..6 {
        let _ = rig.forward(get("/")).await;
    }
    for _ in 0..6 {
        assert_eq!(rig.fetch().await, (200, "fine".to_owned()));
    }
    assert_eq!(broken.seen().len(), 2);

    rig.clusters
        .update(&Endpoints::from([(id("a"), endpoints(&[closed]))]));
    let answer = rig.failed_reply(get("/")).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (503, "UH"));
    assert_eq!(answer.body, "no healthy upstream");
}

fn probing(probe: crate::plan::Probe) -> Traffic {
    Traffic {
        load_balancer: crate::plan::LoadBalancer::RoundRobin,
        probe: Some(crate::plan::ActiveCheck {
            timeout: Duration::from_secs(5),
            interval: Duration::from_millis(10),
            initial_jitter: Duration::ZERO,
            unhealthy: 2,
            healthy: 1,
            port: None,
            probe,
        }),
        panic_threshold: 0,
        ..Default::default()
    }
}

fn http_probe(wanted: &[u8]) -> crate::plan::Probe {
    crate::plan::Probe::Http(crate::plan::HttpProbe {
        host: Some("a.test".to_owned()),
        path: "/up?deep".to_owned(),
        method: http::Method::GET.into(),
        expected: vec![200],
        retriable: vec![503],
        wanted: wanted.to_vec(),
        body: Vec::new(),
    })
}

/// Sends requests until they all reach the backend that answers `expected`.
async fn until_only(rig: &Rig, expected: &str) {
    let settled = async {
        let mut in_a_row = 0;
        while in_a_row < 8 {
            let answer = match rig.forward(get("/")).await {
                Ok(forwarded) => read(forwarded.response).await.1,
                Err(failure) => String::from_utf8(failure.error.reply().body.to_vec()).unwrap(),
            };
            in_a_row = if answer == expected { in_a_row + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .unwrap();
}

#[tokio::test]
async fn endpoints_that_report_to_be_unhealthy_receive_no_requests() {
    let well = Backend::plain("well").await;
    let ill = Backend::plain("ill").await;
    let rig = Rig::new(probing(http_probe(b"well")), &[well.address, ill.address]);

    until_only(&rig, "well").await;

    let asked = well
        .seen()
        .into_iter()
        .find(|head| head.starts_with("GET /up"));
    let asked = asked.unwrap();
    assert!(asked.starts_with("GET /up?deep HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("host: a.test\r\n"), "{asked}");
    assert!(asked.contains("user-agent: Envoy/HC\r\n"), "{asked}");
}

#[tokio::test]
async fn an_endpoint_returns_when_it_is_healthy_again() {
    let well = Backend::start(vec![
        vec![answer(500, "ill")],
        vec![answer(500, "ill")],
        vec![answer(200, "well")],
    ])
    .await;
    let rig = Rig::new(probing(http_probe(b"")), &[well.address]);

    until_only(&rig, "well").await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_receives_no_requests() {
    let well = Backend::plain("well").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let tcp = crate::plan::Probe::Tcp {
        send: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        receive: b"well".to_vec(),
    };
    let rig = Rig::new(probing(tcp), &[well.address, closed]);

    until_only(&rig, "well").await;
    rig.clusters
        .update(&Endpoints::from([(id("a"), endpoints(&[closed]))]));
    until_only(&rig, "no healthy upstream").await;
}

/// A gRPC health service that reports this status.
async fn grpc_health(status: u8) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    let message = vec![0, 0, 0, 0, 2, 8, status];
                    body.send_data(message.into(), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    body.send_trailers(trailers).unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_grpc_service_is_healthy_while_it_reports_serving() {
    use crate::upstream::{ProbeResult, probe};
    let (serving, not_serving) = (grpc_health(1).await, grpc_health(2).await);
    let silent = Backend::plain("no HTTP/2").await.address;
    let rig = Rig::new(Traffic::default(), &[serving]);
    let ask = crate::plan::Probe::Grpc("a.b.C".to_owned());

    for (address, expected) in [
        (serving, ProbeResult::Healthy),
        (not_serving, ProbeResult::Unhealthy),
        (silent, ProbeResult::Failed),
    ] {
        let address = address.into();
        let probing = probe(&rig.forwarder.backends.pools[0], &address, &ask);
        let result = tokio::time::timeout(Duration::from_secs(1), probing).await;
        assert_eq!(result.unwrap_or(ProbeResult::Failed), expected);
    }
}
