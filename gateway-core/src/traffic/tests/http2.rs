//! HTTP/2 backends.

use std::sync::atomic::{AtomicUsize, Ordering};

use h2::server::SendResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::backend::{Backend, answer};
use super::*;
use crate::breaker::Resource;

/// Action of an HTTP/2 backend for the `n`-th request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Answer,
    Refuse,
    Reset,
    /// Sends the response head and resets the stream within the body, with this code.
    Cut(h2::Reason),
    /// Responds and sends GOAWAY.
    AnswerAndGoAway,
    /// Responds with this number of trailers.
    Trailers(usize),
    Hang,
}

struct Backend2 {
    address: SocketAddr,
    accepts: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<http::request::Parts>>>,
}

async fn start(acts: Vec<Act>) -> Backend2 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = Backend2 {
        address: listener.local_addr().unwrap(),
        accepts: Arc::default(),
        heads: Arc::default(),
    };
    let (accepts, heads, acts) = (
        backend.accepts.clone(),
        backend.heads.clone(),
        Arc::new(acts),
    );
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            accepts.fetch_add(1, Ordering::SeqCst);
            let (heads, acts) = (heads.clone(), acts.clone());
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let act = {
                        let mut heads = heads.lock().unwrap();
                        heads.push(request.into_parts().0);
                        acts[(heads.len() - 1).min(acts.len() - 1)]
                    };
                    if act == Act::AnswerAndGoAway {
                        connection.graceful_shutdown();
                    }
                    tokio::spawn(respond_to(act, respond));
                }
            });
        }
    });
    backend
}

async fn respond_to(act: Act, mut respond: SendResponse<Bytes>) {
    let head = || Response::new(());
    match act {
        Act::Answer | Act::AnswerAndGoAway => {
            let mut body = respond.send_response(head(), false).unwrap();
            body.send_data("ok".into(), true).unwrap();
        }
        Act::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
        Act::Reset => respond.send_reset(h2::Reason::INTERNAL_ERROR),
        Act::Cut(reason) => {
            let mut body = respond.send_response(head(), false).unwrap();
            body.send_data("o".into(), false).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            body.send_reset(reason);
        }
        Act::Trailers(count) => {
            let mut body = respond.send_response(head(), false).unwrap();
            body.send_data("ok".into(), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            for _ in 0..count {
                trailers.append("x-a", "1".parse().unwrap());
            }
            body.send_trailers(trailers).unwrap();
        }
        Act::Hang => std::future::pending().await,
    }
}

fn rig(traffic: Traffic, backend: &Backend2) -> Rig {
    Rig::speaking(BackendProtocol::Http2, traffic, &[backend.address])
}

#[tokio::test]
async fn concurrent_requests_share_one_connection() {
    let backend = start(vec![Act::Answer]).await;
    let rig = rig(Traffic::default(), &backend);

    let all = futures_util::future::join_all((0..50).map(|_| rig.fetch())).await;

    assert!(all.iter().all(|answer| *answer == (200, "ok".to_owned())));
    assert_eq!(backend.accepts.load(Ordering::SeqCst), 1);
    let head = &backend.heads.lock().unwrap()[0];
    assert_eq!(head.uri, "http://a.test/");
    assert!(!head.headers.contains_key("host"));
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 1);
}

#[tokio::test]
async fn a_response_has_at_most_a_hundred_trailers() {
    let backend = start(vec![Act::Trailers(100), Act::Trailers(101)]).await;
    let rig = rig(Traffic::default(), &backend);

    for expected in [Some(100), None] {
        let forwarded = rig.forward(get("/")).await.unwrap();
        let body = http_body_util::BodyExt::collect(forwarded.response.into_body()).await;

        let trailers = body
            .ok()
            .map(|body| body.trailers().map_or(0, http::HeaderMap::len));
        assert_eq!(trailers, expected);
    }
}

#[tokio::test]
async fn resets_are_classified_by_their_code() {
    for (act, flag, reason) in [
        (Act::Refuse, "UR", "remote refused stream reset"),
        (Act::Reset, "UR", "remote reset"),
    ] {
        let backend = start(vec![act, Act::Answer]).await;
        let rig = rig(Traffic::default(), &backend);

        let answer = rig.failed_reply(get("/")).await;

        assert_eq!((answer.status.as_u16(), answer.flag), (503, flag));
        assert!(
            answer
                .body
                .ends_with(format!("reset reason: {reason}").as_bytes()),
            "{:?}",
            answer.body
        );
        assert_eq!(rig.fetch().await.0, 200);
        assert_eq!(
            backend.accepts.load(Ordering::SeqCst),
            1,
            "the connection is kept"
        );
    }
}

#[tokio::test]
async fn a_reset_body_ends_in_an_error() {
    for reason in [
        h2::Reason::INTERNAL_ERROR,
        h2::Reason::NO_ERROR,
        h2::Reason::CANCEL,
    ] {
        let backend = start(vec![Act::Cut(reason)]).await;
        let rig = rig(Traffic::default(), &backend);

        let response = rig.forward(get("/")).await.unwrap().response;

        assert!(response.into_body().collect().await.is_err(), "{reason:?}");
        assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
    }
}

#[tokio::test]
async fn after_goaway_a_new_connection_is_opened() {
    let backend = start(vec![Act::AnswerAndGoAway]).await;
    let rig = rig(Traffic::default(), &backend);

    for _ in 0..10 {
        assert_eq!(rig.fetch().await.0, 200);
    }

    assert!(backend.accepts.load(Ordering::SeqCst) >= 5);
}

#[tokio::test]
async fn a_second_connection_is_opened_beyond_the_stream_limit() {
    let backend = start(vec![Act::Hang]).await;
    let rig = rig(Traffic::default(), &backend);

    let mut all = futures_util::future::join_all((0..150).map(|_| rig.forward(get("/"))));
    let opened = until(|| backend.heads.lock().unwrap().len() == 150);
    tokio::select! {
        _ = &mut all => panic!("no response was sent"),
        () = opened => {}
    }

    assert_eq!(backend.accepts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn trailers_are_forwarded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.headers()["te"], "trailers");
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data("x".into(), false).unwrap();
            let trailers = [("grpc-status", "0")].map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            });
            body.send_trailers(trailers.into_iter().collect()).unwrap();
        }
    });
    let rig = Rig::speaking(BackendProtocol::Http2, Traffic::default(), &[address]);
    let mut request = post("question");
    request
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());

    let forwarded = rig.forward(request).await.unwrap();
    let collected = forwarded.response.into_body().collect().await.unwrap();

    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
}

#[tokio::test]
async fn a_failed_client_body_is_400() {
    let backend = start(vec![Act::Hang]).await;
    let rig = rig(Traffic::default(), &backend);
    let (sender, body) = streamed();
    sender.send(Ok("abc".into())).unwrap();
    sender
        .send(Err(std::io::Error::other("malformed chunk")))
        .unwrap();

    let answer = rig.failed_reply(post(body)).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (400, "DPE"));
}

#[tokio::test]
async fn an_upload_stops_when_its_response_has_ended() {
    let backend = start(vec![Act::Answer]).await;
    let rig = rig(Traffic::default(), &backend);
    let (sender, body) = streamed();
    sender.send(Ok("abc".into())).unwrap();

    let forwarded = rig.forward(post(body)).await.unwrap();
    assert_eq!(read(forwarded.response).await, (200, "ok".to_owned()));

    until(|| sender.is_closed()).await;
    assert_eq!(rig.fetch().await.0, 200);
    assert_eq!(backend.accepts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_stream_is_retried() {
    let backend = start(vec![Act::Refuse, Act::Answer]).await;
    let traffic = Traffic {
        retry: Some(crate::plan::Retry {
            attempts_per_priority: None,
            retries: 1,
            on: crate::plan::RetryOn {
                refused_stream: true,
                ..Default::default()
            },
            base_interval: Duration::from_millis(1),
            min_interval: Duration::ZERO,
            max_interval: None,
            attempt_timeout: None,
        }),
        ..Default::default()
    };
    let rig = rig(traffic, &backend);

    let forwarded = rig.forward(post("body")).await.unwrap();

    assert_eq!(forwarded.attempts, 2);
    assert_eq!(read(forwarded.response).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn requests_that_wait_for_a_connection_share_its_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let rig = Rig::speaking(BackendProtocol::Http2, Traffic::default(), &[address]);

    let all = futures_util::future::join_all((0..20).map(|_| rig.forward(get("/")))).await;

    assert!(all.iter().all(|result| {
        let answer = result.as_ref().unwrap_err().error.reply();
        (answer.status.as_u16(), answer.flag) == (503, "UF")
    }));
    assert_eq!(rig.observer.count("UpstreamConnectFailed"), 1);
}

#[tokio::test]
async fn idle_connections_make_room_across_protocols() {
    let (new, old) = (
        start(vec![Act::Answer]).await,
        super::backend::Backend::plain("ok").await,
    );
    let traffic = Traffic {
        breaker: crate::plan::Breaker {
            connections: 1,
            ..Default::default()
        },
        ..Default::default()
    };
    let shares = [
        backend(1, service("new", BackendProtocol::Http2)),
        backend(1, service("old", BackendProtocol::Http1)),
    ];
    let rig = Rig::with(traffic, &shares);
    rig.clusters.update(&Endpoints::from([
        (id("new"), endpoints(&[new.address])),
        (id("old"), endpoints(&[old.address])),
    ]));

    for _ in 0..40 {
        assert_eq!(rig.fetch().await, (200, "ok".to_owned()));
    }

    assert!(new.accepts.load(Ordering::SeqCst) > 1 && old.accepts() > 1);
    assert!(rig.forwarder.breaker.in_use(Resource::Connection) <= 1);
}

fn speaking(http2: crate::plan::Http2Settings) -> Traffic {
    let mut traffic = Traffic::default();
    traffic.connection.http2 = http2;
    traffic
}

#[tokio::test]
async fn concurrent_requests_per_connection_are_limited() {
    let backend = start(vec![Act::Hang]).await;
    let traffic = speaking(crate::plan::Http2Settings {
        max_concurrent_streams: 2,
        ..Default::default()
    });
    let rig = rig(traffic, &backend);

    let all = futures_util::future::join_all((0..5).map(|_| rig.forward(get("/"))));
    let seen = until(|| backend.heads.lock().unwrap().len() == 5);
    tokio::select! {
        _ = all => panic!("nobody answers"),
        () = seen => {}
    }

    assert_eq!(backend.accepts.load(Ordering::SeqCst), 3);
}

/// A backend that reads and never responds.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_without_ping_acknowledgements_is_closed() {
    let short = Some(Duration::from_millis(100));
    for (keepalive_interval, keepalive_idle) in [(short, None), (None, short)] {
        let traffic = speaking(crate::plan::Http2Settings {
            keepalive_interval,
            keepalive_idle,
            keepalive_timeout: short,
            ..Default::default()
        });
        let rig = Rig::speaking(BackendProtocol::Http2, traffic, &[silent().await]);

        let answer = rig.failed_reply(get("/")).await;

        assert_eq!((answer.status.as_u16(), answer.flag), (503, "UC"));
    }
}

#[tokio::test]
async fn the_protocol_of_the_client_replaces_that_of_the_backend() {
    let traffic = Traffic {
        use_client_protocol: true,
        ..Traffic::default()
    };
    let version = |version| {
        let mut request = get("/");
        *request.version_mut() = version;
        request
    };
    let new = start(vec![Act::Answer]).await;
    let old = Backend::start(vec![vec![answer(200, "ok")]]).await;
    for own in [BackendProtocol::Http1, BackendProtocol::Http2] {
        let of_http2 = Rig::speaking(own, traffic.clone(), &[new.address]);
        let of_http1 = Rig::speaking(own, traffic.clone(), &[old.address]);

        let by_http2 = of_http2.forward(version(http::Version::HTTP_2)).await;
        let by_http1 = of_http1.forward(version(http::Version::HTTP_11)).await;

        assert_eq!(read(by_http2.unwrap().response).await.1, "ok");
        assert_eq!(read(by_http1.unwrap().response).await.1, "ok");
    }
}

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// HEADERS of stream 1 with `:status: 200`.
const HEAD: &[u8] = &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
/// DATA of stream 1: `ok`.
const DATA: &[u8] = &[0, 0, 2, 0, 0, 0, 0, 0, 1, b'o', b'k'];
/// DATA of stream 1 with END_STREAM: `ok`.
const LAST_DATA: &[u8] = &[0, 0, 2, 0, 1, 0, 0, 0, 1, b'o', b'k'];

/// HEADERS of stream 1 with `:status: 101` and these flags.
fn switching(flags: u8) -> Vec<u8> {
    let mut frame = vec![0, 0, 5, 1, flags, 0, 0, 0, 1, 0x08, 3];
    frame.extend_from_slice(b"101");
    frame
}

/// Reads the preface and frames up to HEADERS (RFC 9113, section 4.1).
async fn read_head(stream: &mut TcpStream) {
    let mut bytes = [0; 24];
    stream.read_exact(&mut bytes).await.unwrap();
    let mut kind = 0;
    while kind != 1 {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        kind = head[3];
    }
}

/// A backend that sends these frames after the head of its first request.
async fn send_frames(frames: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(SETTINGS).await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(&frames).await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    address
}

/// The codec drops these fields, so the gateway never receives them.
#[tokio::test]
async fn pseudo_fields_in_the_trailers_of_a_response_are_never_forwarded() {
    let status = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
    let mut path = vec![0, 0, 10, 1, 5, 0, 0, 0, 1, 0, 5];
    path.extend_from_slice(b":path\x02/e");
    for trailers in [&status[..], &path] {
        let address = send_frames([HEAD, DATA, trailers].concat()).await;
        let rig = Rig::speaking(BackendProtocol::Http2, Traffic::default(), &[address]);

        let response = rig.forward(get("/")).await.unwrap().response;
        let collected = response.into_body().collect().await.unwrap();

        assert!(collected.trailers().is_none_or(http::HeaderMap::is_empty));
        assert_eq!(collected.to_bytes(), "ok");
    }
}

#[tokio::test]
async fn a_response_that_switches_the_protocol_is_an_interim_response_over_http2() {
    let address = send_frames([&switching(4)[..], HEAD, LAST_DATA].concat()).await;
    let rig = Rig::speaking(BackendProtocol::Http2, Traffic::default(), &[address]);

    assert_eq!(rig.fetch().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_stream_that_ends_with_an_interim_response_is_502() {
    let address = send_frames(switching(5)).await;
    let rig = Rig::speaking(BackendProtocol::Http2, Traffic::default(), &[address]);

    let answer = rig.failed_reply(get("/")).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (502, "UPE"));
}
