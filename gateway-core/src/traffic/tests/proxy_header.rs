//! PROXY headers at the start of connections to backends.

use super::backend::Backend;
use super::*;
use crate::conn::{ConnInfo, ConnectionAddrs};
use crate::plan::{BackendConnection, ProxyHeaderVersion};

fn rig(backend: &Backend) -> Rig {
    let traffic = Traffic {
        connection: BackendConnection {
            proxy_header: Some(ProxyHeaderVersion::V1),
            ..Default::default()
        },
        ..Default::default()
    };
    Rig::new(traffic, &[backend.address])
}

#[tokio::test]
async fn each_request_of_a_client_has_a_connection_that_names_it() {
    let backend = Backend::plain("ok").await;
    let rig = rig(&backend);
    let local = "192.0.2.9:80".parse().unwrap();
    for (peer, line) in [
        (
            "192.0.2.1:1000",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\r\n",
        ),
        (
            "192.0.2.1:1000",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\r\n",
        ),
        (
            "192.0.2.2:1001",
            "PROXY TCP4 192.0.2.2 192.0.2.9 1001 80\r\n",
        ),
    ] {
        let addresses = ConnectionAddrs::of_tcp(peer.parse().unwrap(), local);
        let connection = ConnInfo::new(addresses, 0, 80, None);
        let observer: Arc<dyn Observer> = rig.observer.clone();
        let context = ForwardContext {
            client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            observer: &observer,
            envoy_headers: false,
            preserve_header_case: false,
            upgrade: None,
            connection: Some(&connection),
        };

        let forwarded = rig.forwarder.forward(&context, get("/")).await.unwrap();

        assert_eq!(read(forwarded.response).await.1, "ok");
        let seen = backend.seen().pop().unwrap();
        assert!(
            seen.starts_with(&format!("{line}GET / HTTP/1.1\r\n")),
            "{seen}"
        );
    }
    assert_eq!(backend.accepts(), 3);
}

#[tokio::test]
async fn requests_of_the_gateway_itself_name_no_client() {
    let backend = Backend::plain("ok").await;
    let rig = rig(&backend);

    rig.fetch().await;

    let seen = backend.seen();
    assert!(
        seen[0].starts_with("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"),
        "{seen:?}"
    );
}
