//! Requests and responses without failures.

use super::backend::{Backend, Step, answer, raw};
use super::*;
use crate::breaker::Resource;

#[tokio::test]
async fn consecutive_requests_share_one_connection() {
    let backend = Backend::plain("hello").await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    for _ in 0..20 {
        assert_eq!(rig.fetch().await, (200, "hello".to_owned()));
    }

    assert_eq!(backend.accepts(), 1);
    assert_eq!(rig.observer.count("UpstreamConnected"), 1);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 1);
}

#[tokio::test]
async fn concurrent_requests_use_separate_connections() {
    let step = vec![Step::Pause(Duration::from_millis(20)), answer(200, "x")];
    let backend = Backend::start(vec![step]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    futures_util::future::join_all((0..5).map(|_| rig.fetch())).await;
    assert_eq!(backend.accepts(), 5);
    futures_util::future::join_all((0..5).map(|_| rig.fetch())).await;

    assert_eq!(backend.accepts(), 5);
}

#[tokio::test]
async fn the_request_head_is_rebuilt_for_the_wire() {
    let backend = Backend::plain("").await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    let request = Request::post("http://outer.test/a?b=c")
        .version(http::Version::HTTP_2)
        .header("content-length", "999")
        .header("connection", "close")
        .header("x-a", "1")
        .body("abc".into())
        .unwrap();

    rig.forward(request).await.unwrap();

    assert_eq!(
        backend.seen(),
        ["POST /a?b=c HTTP/1.1\r\ncontent-length: 3\r\nx-a: 1\r\nhost: outer.test\r\n\r\nabc"]
    );
}

#[tokio::test]
async fn a_chunked_response_is_forwarded_and_its_connection_reused() {
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let backend = Backend::start(vec![vec![Step::Send(chunked.into())]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    for _ in 0..3 {
        let response = rig.forward(get("/")).await.unwrap().response;
        assert!(!response.headers().contains_key("transfer-encoding"));
        assert_eq!(read(response).await, (200, "abcde".to_owned()));
    }

    assert_eq!(backend.accepts(), 1);
}

#[tokio::test]
async fn responses_without_a_body_keep_their_connection() {
    let head = |status: &str, fields: &str| {
        vec![Step::Send(
            format!("HTTP/1.1 {status} A\r\n{fields}\r\n").into(),
        )]
    };
    let backend = Backend::start(vec![
        head("204", "content-length: 5\r\n"),
        head("304", "content-length: 5\r\n"),
        head("200", "content-length: 5\r\n"),
        vec![answer(200, "last")],
    ])
    .await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    assert_eq!(rig.fetch().await, (204, String::new()));
    assert_eq!(rig.fetch().await, (304, String::new()));
    let request = Request::head("/").body(Body::empty()).unwrap();
    let response = rig.forward(request).await.unwrap().response;
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(read(response).await, (200, String::new()));

    assert_eq!(rig.fetch().await, (200, "last".to_owned()));
    assert_eq!(backend.accepts(), 1);
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    let backend = Backend::start(vec![vec![Step::Send(interim.into()), answer(200, "ok")]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    assert_eq!(rig.fetch().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_body_of_unknown_length_is_streamed_and_the_connection_reused() {
    let backend = Backend::plain("ok").await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    for _ in 0..2 {
        let (sender, body) = streamed();
        let send = async {
            for part in ["one", "two"] {
                sender.send(Ok(part.into())).unwrap();
                tokio::task::yield_now().await;
            }
            drop(sender);
        };
        let (forwarded, ()) = tokio::join!(rig.forward(post(body)), send);
        assert_eq!(read(forwarded.unwrap().response).await.1, "ok");
    }

    assert!(backend.seen()[0].ends_with("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
    assert_eq!(backend.accepts(), 1);
}

#[tokio::test]
async fn a_body_of_many_megabytes_is_forwarded_in_both_directions() {
    let size = 8 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    let backend = Backend::start(vec![vec![
        Step::Send(head.into()),
        Step::Send(vec![b'x'; size]),
    ]])
    .await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    for _ in 0..2 {
        let forwarded = rig.forward(post("y".repeat(size))).await.unwrap();
        assert_eq!(read(forwarded.response).await.1.len(), size);
    }

    assert!(backend.seen()[1].len() > size);
    assert_eq!(backend.accepts(), 1);
}

#[tokio::test]
async fn an_upload_continues_while_the_response_is_not_read() {
    let early = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let backend = Backend::start(vec![vec![Step::Send(early.into()), Step::Echo]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    let (sender, body) = streamed();
    let mut request = post(body);
    request
        .headers_mut()
        .insert("x-early", "1".parse().unwrap());

    let forwarded = rig.forward(request).await.unwrap();
    // The whole upload must be sent although the response body is not polled.
    for _ in 0..100 {
        sender.send(Ok(vec![0u8; 1000].into())).unwrap();
    }
    let upload = sender.clone();
    drop(sender);
    drop(forwarded);
    until(|| upload.is_closed()).await;

    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 0);
}

#[tokio::test]
async fn a_connection_with_an_unfinished_upload_is_not_reused() {
    let backend = Backend::start(vec![vec![answer(413, "no")], vec![answer(200, "ok")]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);
    let (sender, body) = streamed();
    let mut request = post(body);
    request
        .headers_mut()
        .insert("x-early", "1".parse().unwrap());

    let forwarded = rig.forward(request).await.unwrap();
    assert_eq!(read(forwarded.response).await, (413, "no".to_owned()));

    assert_eq!(rig.fetch().await, (200, "ok".to_owned()));
    assert_eq!(backend.accepts(), 2);
    until(|| sender.is_closed()).await;
}

#[tokio::test]
async fn dropping_an_incomplete_response_closes_its_connection() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let backend = Backend::start(vec![
        vec![Step::Send(head.into()), Step::Hang],
        vec![answer(200, "ok")],
    ])
    .await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    drop(rig.forward(get("/")).await.unwrap());

    assert_eq!(rig.observer.count("UpstreamClosed"), 1);
    assert_eq!(rig.fetch().await.0, 200);
    assert_eq!(backend.accepts(), 2);
}

#[tokio::test]
async fn a_response_delimited_by_the_end_of_the_connection_is_forwarded() {
    let backend = Backend::start(vec![vec![raw("HTTP/1.1 200 OK\r\n\r\nuntil the end")]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    assert_eq!(rig.fetch().await, (200, "until the end".to_owned()));
    assert_eq!(rig.fetch().await.0, 200);

    assert_eq!(backend.accepts(), 2);
}
