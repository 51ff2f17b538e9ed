//! Backends and clients that violate the protocol or fail.

use std::io::{Read, Write};
use std::sync::mpsc;

use super::LocalReply;
use super::backend::{Backend, Step, answer, raw};
use super::*;
use crate::breaker::Resource;
use crate::plan::{Retry, RetryOn};

const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

/// The reply to a GET when the backend runs `steps`.
async fn reply_to(steps: Vec<Step>) -> LocalReply {
    let backend = Backend::start(vec![steps]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    let answer = rig.failed_reply(get("/")).await;
    assert_eq!(
        rig.forwarder.breaker.in_use(Resource::Connection),
        0,
        "all units are released"
    );
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
    answer
}

/// An address without a listener.
async fn closed_address() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn a_refused_connection_is_503() {
    let rig = Rig::new(Traffic::default(), &[closed_address().await]);

    let failure = rig.forward(get("/")).await.unwrap_err();

    let answer = failure.error.reply();
    assert_eq!((answer.status.as_u16(), answer.flag), (503, "UF"));
    assert_eq!(answer.body, format!("{RESET}remote connection failure"));
    assert_eq!(
        answer.details,
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
    );
    assert!(failure.endpoint.is_some());
    assert_eq!(rig.observer.count("UpstreamConnectFailed"), 1);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_response_is_503() {
    let answer = reply_to(vec![raw("")]).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (503, "UC"));
    assert_eq!(answer.body, format!("{RESET}connection termination"));
}

#[tokio::test]
async fn a_connection_that_ends_within_a_head_is_502() {
    let answer = reply_to(vec![raw("HTTP/1.1 200 OK\r\ncontent-le")]).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (502, "UPE"));
    assert_eq!(answer.body, format!("{RESET}protocol error"));
}

#[tokio::test]
async fn a_connection_that_ends_after_an_interim_response_is_503() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let answer = reply_to(vec![raw(interim)]).await;

        assert_eq!((answer.status.as_u16(), answer.flag), (503, "UC"));
        assert_eq!(answer.body, format!("{RESET}connection termination"));
    }
}

#[tokio::test]
async fn a_request_is_not_sent_again_after_an_interim_response() {
    let interim = raw("HTTP/1.1 100 Continue\r\n\r\n");
    let backend = Backend::start(vec![vec![answer(200, "ok")], vec![interim]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    assert_eq!(rig.fetch().await.0, 200);

    let answer = rig.failed_reply(get("/")).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (503, "UC"));
    assert_eq!(backend.seen().len(), 2);
}

#[tokio::test]
async fn invalid_http_is_502() {
    let bad = [
        "garbage\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n",
    ];
    for bytes in bad {
        let answer = reply_to(vec![raw(bytes)]).await;

        assert_eq!(
            (answer.status.as_u16(), answer.flag),
            (502, "UPE"),
            "{bytes}"
        );
        assert_eq!(answer.body, format!("{RESET}protocol error"));
    }
}

#[tokio::test]
async fn endless_heads_and_interim_responses_are_502() {
    for flood in [
        "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50),
        format!("x-a: {}\r\n", "y".repeat(5000)),
    ] {
        let start = Step::Send(b"HTTP/1.1 103 Early Hints\r\nx-b: 1\r\n".to_vec());
        let end = Step::Send(b"x: y\r\n\r\n".to_vec());
        let answer = reply_to(vec![start, end, Step::Flood(flood.into_bytes())]).await;

        assert_eq!((answer.status.as_u16(), answer.flag), (502, "UPE"));
    }
}

#[tokio::test]
async fn a_truncated_body_ends_in_an_error() {
    let cut = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    for bytes in cut {
        let backend = Backend::start(vec![vec![raw(bytes)]]).await;
        let rig = Rig::new(Traffic::default(), &[backend.address]);

        let response = rig.forward(get("/")).await.unwrap().response;

        assert!(response.into_body().collect().await.is_err(), "{bytes}");
        assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 0);
        assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
    }
}

#[tokio::test]
async fn an_idle_connection_that_the_backend_closed_is_not_used() {
    let close = Step::SendAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let backend = Backend::start(vec![vec![close]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    for _ in 0..20 {
        assert_eq!(rig.fetch().await.0, 200);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    assert_eq!(backend.accepts(), 20);
}

#[tokio::test]
async fn a_request_that_may_have_been_received_is_not_sent_again() {
    let backend =
        Backend::start(vec![vec![super::backend::answer(200, "ok")], vec![raw("")]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    assert_eq!(rig.fetch().await.0, 200);

    // The connection is idle, and the backend closes it instead of responding.
    let answer = rig.failed_reply(post("once")).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (503, "UC"));
    assert_eq!(backend.seen().len(), 2);
    assert_eq!(backend.accepts(), 1);
}

#[tokio::test]
async fn a_safe_request_is_repeated_once_if_a_reused_connection_ends() {
    let answer = || vec![super::backend::answer(200, "ok")];
    let backend = Backend::start(vec![answer(), vec![raw("")], answer()]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    assert_eq!(rig.fetch().await.0, 200);

    assert_eq!(rig.fetch().await.0, 200);

    assert_eq!((backend.seen().len(), backend.accepts()), (3, 2));
    assert_eq!(rig.observer.count("Retried"), 1);
}

#[tokio::test]
async fn a_safe_request_is_not_repeated_over_a_new_connection_or_after_a_byte_of_the_response() {
    let fresh = Backend::start(vec![vec![raw("")]]).await;
    let answer = vec![super::backend::answer(200, "ok")];
    let partial = Backend::start(vec![answer, vec![raw("HTTP/1.1 200")]]).await;
    let rig = Rig::new(Traffic::default(), &[partial.address]);
    assert_eq!(rig.fetch().await.0, 200);

    let cut = rig.failed_reply(get("/")).await;
    let closed = Rig::new(Traffic::default(), &[fresh.address]);
    let closed = closed.failed_reply(get("/")).await;

    assert_eq!((cut.status.as_u16(), cut.flag), (502, "UPE"));
    assert_eq!((closed.status.as_u16(), closed.flag), (503, "UC"));
    assert_eq!((partial.seen().len(), fresh.seen().len()), (2, 1));
}

#[tokio::test]
async fn unsolicited_bytes_after_a_response_are_not_used_for_the_next() {
    let extra = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let backend = Backend::start(vec![vec![Step::Send(extra.into())]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    for _ in 0..5 {
        assert_eq!(rig.fetch().await, (200, "ok".to_owned()));
    }

    assert_eq!(backend.accepts(), 5);
}

#[tokio::test]
async fn a_failed_client_body_is_400() {
    let backend = Backend::plain("ok").await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    let (sender, body) = streamed();
    sender.send(Ok("abc".into())).unwrap();
    sender
        .send(Err(std::io::Error::other("malformed chunk")))
        .unwrap();

    let answer = rig.failed_reply(post(body)).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (400, "DPE"));
    assert_eq!(rig.fetch().await.0, 200);
    assert_eq!(backend.accepts(), 2, "the connection is not reused");
}

#[tokio::test]
async fn a_disconnected_client_closes_the_connection() {
    let backend = Backend::start(vec![vec![Step::Hang]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    let left = tokio::time::timeout(Duration::from_millis(50), rig.forward(get("/"))).await;

    assert!(left.is_err());
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 0);
    assert_eq!(rig.observer.count("UpstreamClosed"), 1);
}

#[tokio::test]
async fn rules_without_a_usable_backend_reply_with_the_reason() {
    let spare = Backend::plain("ok").await;
    let empty = || service("empty", BackendProtocol::Http1);
    let good = || service("good", BackendProtocol::Http1);
    let rows = [
        (vec![], 500, ""),
        (vec![backend(1, Destination::Invalid)], 500, ""),
        (vec![backend(0, good())], 500, ""),
        (vec![backend(1, empty())], 503, ""),
        (
            vec![
                backend(1_000_000_000, Destination::Invalid),
                backend(1, good()),
            ],
            500,
            "NC",
        ),
        (
            vec![backend(1_000_000_000, empty()), backend(1, good())],
            503,
            "NC",
        ),
    ];
    for (backends, status, flag) in rows {
        let rig = Rig::with(Traffic::default(), &backends);
        rig.clusters.update(&Endpoints::from([(
            id("good"),
            endpoints(&[spare.address]),
        )]));

        let answer = rig.failed_reply(get("/")).await;

        assert_eq!((answer.status.as_u16(), answer.flag), (status, flag));
        assert_eq!(answer.body, "");
    }
}

#[tokio::test]
async fn endpoints_are_replaced_while_serving() {
    let (old, new) = (Backend::plain("old").await, Backend::plain("new").await);
    let rig = Rig::new(Traffic::default(), &[old.address]);
    assert_eq!(rig.fetch().await.1, "old");

    rig.clusters
        .update(&Endpoints::from([(id("a"), endpoints(&[new.address]))]));

    assert_eq!(rig.fetch().await.1, "new");
    until(|| rig.observer.count("UpstreamClosed") == 1).await;
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_timeout() {
    let backend = Backend::plain("ok").await;
    let traffic = Traffic {
        idle_timeout: Some(Duration::from_millis(50)),
        ..Default::default()
    };
    let rig = Rig::new(traffic, &[backend.address]);

    rig.fetch().await;
    until(|| rig.observer.count("UpstreamClosed") == 1).await;

    assert_eq!(rig.fetch().await.0, 200);
    assert_eq!(backend.accepts(), 2);
}

#[tokio::test]
async fn a_slow_backend_is_504() {
    let backend = Backend::start(vec![vec![Step::Hang]]).await;
    let traffic = Traffic {
        request_timeout: Some(Duration::from_millis(50)),
        ..Default::default()
    };
    let rig = Rig::new(traffic, &[backend.address]);

    let answer = rig.failed_reply(get("/")).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (504, "UT"));
    assert_eq!(answer.body, "upstream request timeout");
    assert_eq!(answer.details, "response_timeout");
}

#[tokio::test]
async fn the_maximum_stream_duration_truncates_the_body() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let backend = Backend::start(vec![vec![Step::Send(head.into()), Step::Hang]]).await;
    let traffic = Traffic {
        max_stream_duration: Some(Duration::from_millis(100)),
        ..Default::default()
    };
    let rig = Rig::new(traffic, &[backend.address]);

    let response = rig.forward(get("/")).await.unwrap().response;

    assert!(response.into_body().collect().await.is_err());
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 0);
}

#[tokio::test]
async fn a_connection_beyond_its_age_or_request_limit_is_replaced() {
    let backend = Backend::plain("ok").await;
    let worn = Traffic {
        max_requests_per_connection: Some(2),
        ..Default::default()
    };
    let rig = Rig::new(worn, &[backend.address]);
    for _ in 0..6 {
        rig.fetch().await;
    }
    assert_eq!(backend.accepts(), 3);

    let old = Traffic {
        max_connection_duration: Some(Duration::ZERO),
        ..Default::default()
    };
    let rig = Rig::new(old, &[backend.address]);
    for _ in 0..3 {
        rig.fetch().await;
    }
    assert_eq!(backend.accepts(), 6);
}

/// Reads a request, including the end of a chunked body.
fn read_request(stream: &mut std::net::TcpStream) {
    let mut text = Vec::new();
    let chunked = |text: &[u8]| String::from_utf8_lossy(text).contains("chunked");
    while !text.ends_with(b"\r\n\r\n") || (chunked(&text) && !text.ends_with(b"\r\n0\r\n\r\n")) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.extend(byte);
    }
}

/// A backend that answers one request on each connection, resets the connection on a signal, and then signals
/// completion. The backend runs in a thread, so that the test can block its own runtime.
fn resetting() -> (SocketAddr, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, go) = mpsc::channel();
    let (done, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_request(&mut stream);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).unwrap();
            if go.recv().is_err() {
                return;
            }
            let socket = socket2::SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
            done.send(()).unwrap();
        }
    });
    (address, sender, receiver)
}

#[tokio::test]
async fn only_an_unsent_request_moves_to_another_connection() {
    let (address, go, done) = resetting();
    let rig = Rig::new(Traffic::default(), &[address]);

    for _ in 0..3 {
        let (status, _) = rig.fetch().await;
        assert_eq!(status, 200, "no byte was sent over the previous connection");
        go.send(()).unwrap();
        done.recv().unwrap();
    }
    let answer = rig.failed_reply(post("abc")).await;

    assert_eq!((answer.status.as_u16(), answer.flag), (503, "UC"));
}

#[tokio::test]
async fn an_empty_chunked_body_keeps_its_end_on_another_connection() {
    let (address, go, done) = resetting();
    let retry = Retry {
        attempts_per_priority: None,
        retries: 1,
        on: RetryOn {
            reset: true,
            ..Default::default()
        },
        base_interval: Duration::from_millis(1),
        min_interval: Duration::ZERO,
        max_interval: None,
        attempt_timeout: None,
    };
    let traffic = Traffic {
        retry: Some(retry),
        request_timeout: Some(Duration::from_secs(5)),
        ..Default::default()
    };
    let rig = Rig::new(traffic, &[address]);
    let (sender, body) = streamed();
    drop(sender);

    assert_eq!(rig.fetch().await.0, 200);
    go.send(()).unwrap();
    done.recv().unwrap();
    let answer = rig.forward(post(body)).await.unwrap();

    assert_eq!(answer.response.status(), 200);
}
