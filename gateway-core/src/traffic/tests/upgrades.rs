//! Upgraded connections.

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::backend::{Backend, Step, answer};
use super::*;
use crate::breaker::Resource;
use crate::http::upgrade::Upgrade;
use crate::traffic::{Tunnel, TunnelIo};

/// Sends a GET that requests an upgrade to `protocol`.
async fn ask(rig: &Rig, protocol: &str) -> Result<Forwarded, ForwardError> {
    let mut request = get("/");
    for (name, value) in [("connection", "keep-alive, upgrade"), ("upgrade", protocol)] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let upgrade = Upgrade::take(request.headers_mut(), &[]);
    let observer: Arc<dyn Observer> = rig.observer.clone();
    let context = ForwardContext {
        client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        observer: &observer,
        envoy_headers: false,
        preserve_header_case: false,
        upgrade: upgrade.as_ref(),
        connection: None,
    };
    rig.forwarder.forward(&context, request).await
}

fn switch() -> Step {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    Step::Send(format!("{head}first").into())
}

#[tokio::test]
async fn an_allowed_upgrade_becomes_a_tunnel() {
    let backend = Backend::start(vec![vec![switch(), Step::Echo]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    let forwarded = ask(&rig, "WebSocket").await.unwrap();
    assert_eq!(forwarded.response.status(), 101);
    assert_eq!(forwarded.response.headers()["upgrade"], "websocket");
    let Tunnel { io, guard, .. } = forwarded.upgrade.unwrap();
    let TunnelIo::Upgrade(io) = io else {
        panic!("the connection is not upgraded");
    };
    let mut io = TokioIo::new(io.await.unwrap());
    let mut read = [0; 5];
    io.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"first");
    io.write_all(b"hello").await.unwrap();
    io.read_exact(&mut read).await.unwrap();

    assert_eq!(&read, b"hello");
    let head = &backend.seen()[0];
    assert!(
        head.contains("connection: Upgrade\r\n") && head.contains("upgrade: WebSocket\r\n"),
        "{head}"
    );
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 1);
    drop(guard);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Connection), 0);
    assert_eq!(rig.forwarder.breaker.in_use(Resource::Request), 0);
}

#[tokio::test]
async fn an_upgrade_that_is_not_allowed_reaches_no_backend() {
    let backend = Backend::start(vec![vec![switch(), Step::Echo]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    let answer = ask(&rig, "spdy/3.1").await.unwrap_err().error.reply();

    assert_eq!(
        (answer.status.as_u16(), &*answer.details),
        (403, "upgrade_failed")
    );
    assert_eq!(backend.accepts(), 0);
}

#[tokio::test]
async fn a_switch_to_another_protocol_is_502() {
    let backend = Backend::start(vec![vec![switch(), Step::Echo]]).await;
    let traffic = Traffic {
        upgrades: vec!["spdy/3.1".to_owned()],
        ..Default::default()
    };
    let rig = Rig::new(traffic, &[backend.address]);

    let answer = ask(&rig, "spdy/3.1").await.unwrap_err().error.reply();

    assert_eq!((answer.status.as_u16(), answer.flag), (502, "UPE"));
}

#[tokio::test]
async fn an_upgrade_that_the_backend_declines_is_an_ordinary_response() {
    let backend = Backend::start(vec![vec![answer(400, "no")]]).await;
    let rig = Rig::new(Traffic::default(), &[backend.address]);

    let forwarded = ask(&rig, "websocket").await.unwrap();

    assert!(forwarded.upgrade.is_none());
    assert_eq!(read(forwarded.response).await, (400, "no".to_owned()));
    until(|| rig.forwarder.breaker.in_use(Resource::Connection) == 0).await;
}
