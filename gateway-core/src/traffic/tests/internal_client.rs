//! Calls that the gateway itself makes, to real servers on loopback.

use h2::server;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use towergate_tls::client::ClientTls;

use super::backend::{Backend, Step, answer, raw};
use super::*;
use crate::Error;
use crate::plan::{Retry, RetryOn};
use crate::traffic::{CallError, InternalClient};

const LIMIT: usize = 1024;

fn client(
    traffic: Traffic,
    protocol: BackendProtocol,
    tls: Option<ClientTls>,
    address: SocketAddr,
) -> InternalClient {
    let live = Live::default();
    let destination = Destination::Backend(Arc::new(PlanBackend {
        id: id("service"),
        protocol,
        tls: tls.map(Arc::new),
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    }));
    let backends = [backend(1, destination)];
    let provider = towergate_tls::default_provider();
    let client = InternalClient::new("policy", Arc::new(traffic), &backends, &live, &provider);
    Clusters::of(&live).update(&Endpoints::from([(id("service"), endpoints(&[address]))]));
    client
}

fn http1(address: SocketAddr) -> InternalClient {
    client(Traffic::default(), BackendProtocol::Http1, None, address)
}

fn request(path: &str) -> Request<Body> {
    let uri = format!("http://service.test{path}");
    Request::get(uri).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_call_sends_the_request_as_given_and_reuses_its_connection() {
    let service = Backend::plain("ok").await;
    let client = http1(service.address);

    for _ in 0..3 {
        let response = client.send_collected(request("/check?a=b"), LIMIT).await;
        let response = response.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.body().data[..]),
            (200, &b"ok"[..])
        );
    }

    assert_eq!(service.accepts(), 1);
    let seen = &service.seen()[0];
    assert_eq!(
        seen,
        "GET /check?a=b HTTP/1.1\r\nhost: service.test\r\n\r\n"
    );
}

#[tokio::test]
async fn a_call_is_retried_as_its_traffic_settings_say() {
    let service = Backend::start(vec![vec![answer(503, "")], vec![answer(200, "ok")]]).await;
    let retry = Retry {
        attempts_per_priority: None,
        retries: 1,
        on: RetryOn {
            statuses: vec![503],
            ..RetryOn::default()
        },
        base_interval: Duration::from_millis(1),
        max_interval: None,
        min_interval: Duration::ZERO,
        attempt_timeout: None,
    };
    let traffic = Traffic {
        retry: Some(retry),
        ..Traffic::default()
    };
    let client = client(traffic, BackendProtocol::Http1, None, service.address);

    let response = client.send(request("/")).await.unwrap();

    assert_eq!(response.status(), 200);
    assert_eq!(service.seen().len(), 2);
}

#[tokio::test]
async fn a_call_to_a_silent_service_times_out() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let service = Backend::start(vec![
        vec![Step::Hang],
        vec![Step::Send(head.into()), Step::Hang],
    ])
    .await;
    let client = http1(service.address).with_timeout(Duration::from_millis(100));

    let no_head = client.send(request("/")).await;
    let no_body = client.send_collected(request("/"), LIMIT).await;

    assert!(matches!(no_head, Err(Error::Timeout)), "{no_head:?}");
    assert!(
        matches!(no_body, Err(CallError::Forward(Error::Timeout))),
        "{no_body:?}"
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_an_error() {
    let announced = answer(200, "123456");
    let chunked =
        raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n123456\r\n0\r\n\r\n");
    let service = Backend::start(vec![
        vec![announced],
        vec![chunked],
        vec![answer(200, "12345")],
    ])
    .await;
    let client = http1(service.address);

    for _ in 0..2 {
        let error = client.send_collected(request("/"), 5).await.unwrap_err();
        assert!(
            matches!(error, CallError::BodyTooLarge { limit: 5 }),
            "{error:?}"
        );
    }
    let response = client.send_collected(request("/"), 5).await.unwrap();

    assert_eq!(response.body().data, "12345");
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let service = Backend::start(vec![vec![raw(
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n123",
    )]])
    .await;
    let client = http1(service.address);

    let error = client
        .send_collected(request("/"), LIMIT)
        .await
        .unwrap_err();

    assert!(matches!(error, CallError::Body(_)), "{error:?}");
}

#[tokio::test]
async fn a_service_with_an_untrusted_certificate_gets_no_request() {
    let (address, _) = tls::start(&[b"http/1.1"]).await;
    let (_, other) = tls::start(&[]).await;
    let settings = tls::settings("backend.test", other);
    let client = client(
        Traffic::default(),
        BackendProtocol::Http1,
        Some(settings),
        address,
    );

    let error = client.send(request("/")).await.unwrap_err();

    assert!(matches!(error, Error::BackendTls(..)), "{error:?}");
}

#[tokio::test]
async fn a_call_beyond_the_limits_of_the_breaker_fails_at_once() {
    let service = Backend::plain("ok").await;
    let traffic = Traffic {
        breaker: crate::plan::Breaker {
            requests: 0,
            ..Default::default()
        },
        ..Traffic::default()
    };
    let client = client(traffic, BackendProtocol::Http1, None, service.address);

    let error = client.send(request("/")).await.unwrap_err();

    assert!(matches!(error, Error::Overflow), "{error:?}");
    assert_eq!(service.accepts(), 0);
}

/// Answers each request with its own body and `grpc-status` in the trailers.
async fn serve_grpc<Io: AsyncRead + AsyncWrite + Unpin>(io: Io) {
    let mut connection = server::handshake(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            assert_eq!(request.headers()["te"], "trailers");
            let mut received = request.into_body();
            let message = received.data().await.unwrap().unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(message, false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "7".parse().unwrap());
            body.send_trailers(trailers).unwrap();
        });
    }
}

#[tokio::test]
async fn grpc_calls_return_trailers_over_plain_text_and_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, roots) = tls::acceptor(&[b"h2"]);
    tokio::spawn(async move {
        let (plain, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_grpc(plain));
        let (encrypted, _) = listener.accept().await.unwrap();
        serve_grpc(acceptor.accept(encrypted).await.unwrap()).await;
    });

    for tls in [None, Some(tls::settings("backend.test", roots))] {
        let client = client(Traffic::default(), BackendProtocol::Http2, tls, address);
        for _ in 0..2 {
            let request = Request::post("http://service.test/envoy.Authorization/Check")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Body::from("\0\0\0\0\0"))
                .unwrap();

            let response = client.send_collected(request, LIMIT).await.unwrap();

            let body = response.into_body();
            assert_eq!(body.data, "\0\0\0\0\0");
            assert_eq!(body.trailers.unwrap()["grpc-status"], "7");
        }
    }
}

#[test]
fn a_client_outlives_the_runtimes_that_use_it() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let servers = runtime();
    let service = servers.block_on(Backend::plain("ok"));
    let client = http1(service.address);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        let _ = servers.block_on(stopped);
    });

    for _ in 0..2 {
        let response = runtime().block_on(client.send_collected(request("/"), LIMIT));
        assert_eq!(response.unwrap().body().data, "ok");
    }

    assert_eq!(service.accepts(), 2, "a connection ends with its runtime");
    drop(stop);
    serving.join().unwrap();
}
