//! Backends whose endpoint is the host of each request. The hosts are names in the hosts file, or literal
//! addresses.

use super::backend::Backend;
use super::*;
use crate::dns::Resolver;
use crate::dns::test_server::NameServer;
use crate::plan::DynamicTargets;

/// A forwarder to the hosts of requests, which may be on loopback unless in `denied`.
fn rig(traffic: Traffic, denied: &[&str]) -> Rig {
    let networks = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let targets = DynamicTargets {
        allowed: networks(&["127.0.0.0/8"]),
        denied: networks(denied),
    };
    Rig::with(traffic, &[super::backend(1, dynamic(targets))])
}

fn dynamic(targets: DynamicTargets) -> Destination {
    let Destination::Backend(service) = service("any", BackendProtocol::Http1) else {
        unreachable!("a service is a backend");
    };
    Destination::Backend(Arc::new(PlanBackend {
        dynamic: Some(Arc::new(targets)),
        ..(*service).clone()
    }))
}

fn get_from(host: &str) -> Request<Body> {
    let request = Request::get("/").header("host", host);
    request.body(Body::empty()).unwrap()
}

async fn status_of(rig: &Rig, host: &str) -> u16 {
    match rig.forward(get_from(host)).await {
        Ok(forwarded) => read(forwarded.response).await.0,
        Err(failure) => failure.error.reply().status.as_u16(),
    }
}

#[tokio::test]
async fn a_request_reaches_the_host_that_it_names() {
    let (one, other) = (Backend::plain("one").await, Backend::plain("other").await);
    let rig = rig(Traffic::default(), &[]);

    for (backend, body) in [(&one, "one"), (&other, "other"), (&one, "one")] {
        let forwarded = rig.forward(get_from(&backend.address.to_string())).await;
        let forwarded = forwarded.unwrap();
        assert_eq!(forwarded.endpoint, backend.address.into());
        assert_eq!(read(forwarded.response).await, (200, body.to_owned()));
    }

    assert_eq!(one.accepts(), 1, "the connection is used again");
    assert!(one.seen()[0].contains(&format!("host: {}", one.address)));
}

#[tokio::test]
async fn a_request_that_returns_to_this_process_is_not_forwarded_again() {
    let backend = Backend::plain("ok").await;
    let rig = rig(Traffic::default(), &[]);
    let host = backend.address.to_string();
    assert_eq!(status_of(&rig, &host).await, 200);
    let seen = backend.seen();
    let lines = seen[0].lines();
    let mark = lines
        .filter_map(|line| line.strip_prefix("cdn-loop: "))
        .next();

    let mut returned = get_from(&host);
    let mark = mark.expect("the request has the entry of this process");
    returned
        .headers_mut()
        .append("cdn-loop", mark.parse().unwrap());
    let reply = rig.failed_reply(returned).await;

    assert_eq!(reply.status, 508);
    assert_eq!(reply.details, "forwarding_loop");
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn addresses_are_checked_and_not_names() {
    let backend = Backend::plain("reached").await;
    let port = backend.address.port();
    let rig = Rig::with(
        Traffic::default(),
        &[super::backend(1, dynamic(DynamicTargets::default()))],
    );

    for host in [
        "127.0.0.1",
        "127.9.8.7",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        "10.96.0.1",
    ] {
        let reply = rig.failed_reply(get_from(&format!("{host}:{port}"))).await;
        assert_eq!(reply.status, 403, "{host}");
        assert_eq!(reply.body, "RBAC: access denied");
    }
    assert_eq!(backend.accepts(), 0);
}

#[tokio::test]
async fn a_connection_of_one_host_carries_no_request_for_another() {
    let backend = Backend::plain("ok").await;
    let rig = rig(Traffic::default(), &[]);
    let port = backend.address.port();

    for host in ["127.0.0.1", "localhost", "127.0.0.1", "localhost"] {
        assert_eq!(status_of(&rig, &format!("{host}:{port}")).await, 200);
    }

    assert_eq!(backend.accepts(), 2);
}

#[tokio::test]
async fn a_name_whose_address_becomes_forbidden_is_no_longer_reached() {
    let backend = Backend::plain("ok").await;
    let server = NameServer::start().await;
    server.set("rebound.test", &["127.0.0.1", "127.66.0.1"]);
    let live = Live::default();
    let _resolver = Resolver::new(vec![server.address]).install(&live);
    let targets = DynamicTargets {
        allowed: vec!["127.0.0.0/8".parse().unwrap()],
        denied: vec!["127.66.0.0/16".parse().unwrap()],
    };
    let rig = Rig::over(
        live,
        Traffic::default(),
        &[super::backend(1, dynamic(targets))],
    );
    let host = format!("rebound.test:{}", backend.address.port());

    for _ in 0..20 {
        assert_eq!(
            status_of(&rig, &host).await,
            200,
            "the permitted address is used"
        );
    }
    server.set("rebound.test", &["127.66.0.1"]);

    while status_of(&rig, &host).await != 403 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.fail("rebound.test");
    assert_eq!(status_of(&rig, &host).await, 503);
    server.remove("rebound.test");
    let reply = rig.failed_reply(get_from(&host)).await;
    assert_eq!((reply.status.as_u16(), reply.flag), (503, "UH"));
    assert!(reply.details.starts_with("dns_resolution_failure{"));
}

#[tokio::test]
async fn the_number_of_hosts_is_limited_and_the_unused_ones_make_room() {
    let rig = rig(Traffic::default(), &[]);
    let picked = rig.forwarder.pick(
        Some(Ipv4Addr::LOCALHOST.into()),
        &get("/").into_parts().0,
        None,
    );
    let hosts = picked.unwrap().route.dynamic.clone().unwrap();

    for at in 0..1100u32 {
        let host = format!("127.1.{}.{}", at / 250, at % 250);
        hosts.find(&host.parse().unwrap()).await.unwrap();
    }

    assert_eq!(hosts.known().pools.len(), 1024);
    hosts.find(&"127.1.0.0".parse().unwrap()).await.unwrap();
    assert_eq!(hosts.known().pools.len(), 1024);
}

#[tokio::test]
async fn a_request_without_a_usable_host_has_no_endpoint() {
    let rig = rig(Traffic::default(), &[]);

    for host in ["127.0.0.1:0", "a b", "user@127.0.0.1"] {
        let reply = rig.failed_reply(get_from(host)).await;
        assert_eq!((reply.status.as_u16(), reply.flag), (503, "UH"), "{host}");
    }
}

#[tokio::test]
async fn connections_to_other_hosts_make_room_at_the_limit() {
    let (one, other) = (Backend::plain("one").await, Backend::plain("other").await);
    let mut traffic = Traffic::default();
    traffic.breaker.connections = 1;
    let rig = rig(traffic, &[]);

    for backend in [&one, &other, &one] {
        assert_eq!(status_of(&rig, &backend.address.to_string()).await, 200);
    }

    assert_eq!((one.accepts(), other.accepts()), (2, 1));
}
