//! Tests of the stream: authentication, order of versions, reports, and removal of planes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use towergate_k8s::wire::{Outcome, PROTOCOL, Problem};

use super::binary::{Server, eventually, plan};
use super::peer::Peer;
use crate::serve::{CertificateAuthority, Credentials};

fn authority() -> CertificateAuthority {
    CertificateAuthority::create(SystemTime::now()).unwrap()
}

fn credentials(authority: &CertificateAuthority, plane: &str) -> Credentials {
    authority.plane(plane, SystemTime::now()).unwrap()
}

fn ago(days: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(days * 86_400)
}

#[tokio::test]
async fn a_data_plane_gets_the_plan_of_the_plane_that_its_certificate_names() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;
    let (ours, theirs) = (plan(1, &[("/ours", 418)]), plan(2, &[("/theirs", 418)]));
    server
        .publisher
        .publish("team/ours", ours.clone(), Arc::default())
        .unwrap();
    server
        .publisher
        .publish("team/theirs", theirs.clone(), Arc::default())
        .unwrap();
    server
        .publisher
        .publish("shared", theirs.clone(), Arc::default())
        .unwrap();

    for (plane, expected) in [("team/ours", &ours), ("team/theirs", &theirs)] {
        let credentials = credentials(&authority, plane);
        let mut peer = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
        assert_eq!(&peer.next().await.unwrap().plan, expected);
    }
    // A plane without a plan receives nothing, in particular not the plan of another plane.
    let credentials = credentials(&authority, "team/unknown");
    let mut peer = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
    server
        .publisher
        .publish("team/unknown", plan(3, &[]), Arc::default())
        .unwrap();
    assert_eq!(peer.next().await.unwrap().plan, plan(3, &[]));
}

#[tokio::test]
async fn who_has_no_certificate_of_a_plane_gets_nothing() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;
    server
        .publisher
        .publish("shared", plan(1, &[]), Arc::default())
        .unwrap();
    let good = credentials(&authority, "shared");
    let mut stranger = credentials(&self::authority(), "shared");
    stranger.authorities.clone_from(&good.authorities);
    let expired = authority.plane("shared", ago(100)).unwrap();
    let controller = authority.controller(SystemTime::now()).unwrap();

    for credentials in [&stranger, &expired, &controller] {
        assert!(Peer::open(&server, credentials, PROTOCOL).await.is_err());
    }
    assert!(Peer::open_without(&server, &good, PROTOCOL).await.is_err());
    assert!(Peer::open(&server, &good, PROTOCOL).await.is_ok());
}

#[tokio::test]
async fn another_release_is_refused_and_told_why() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;

    let refused = Peer::open(&server, &credentials(&authority, "shared"), "9+9.9.9").await;

    let why = refused.err().unwrap().to_string();
    assert!(why.contains("9+9.9.9") && why.contains(PROTOCOL), "{why}");
    assert!(why.contains("run the same release of both"), "{why}");
}

#[tokio::test]
async fn a_stream_ends_when_its_certificate_expires() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;
    server
        .publisher
        .publish("shared", plan(1, &[]), Arc::default())
        .unwrap();
    let soon = ago(90) + Duration::from_secs(8);
    let credentials = authority.plane("shared", soon).unwrap();
    let mut peer = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
    assert!(peer.next().await.is_some());

    assert!(peer.next().await.is_none());
}

#[tokio::test]
async fn of_what_is_published_meanwhile_only_the_newest_counts() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;
    let publish = |status| {
        let plan = plan(1, &[("/", status)]);
        server
            .publisher
            .publish("shared", plan, Arc::default())
            .unwrap()
    };
    let credentials = credentials(&authority, "shared");
    let mut slow = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
    let mut quick = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
    assert_eq!(publish(401), 1);
    assert_eq!(slow.next().await.unwrap().version, 1);
    for version in 1..=4 {
        assert_eq!(quick.next().await.unwrap().version, version);
        quick.report(version, Outcome::InForce).await;
        assert_eq!(publish(401 + version as u16), version + 1);
    }

    slow.report(1, Outcome::InForce).await;

    let next = slow.next().await.unwrap();
    assert_eq!(next.version, 5);
    assert_eq!(next.plan, plan(1, &[("/", 405)]));
    assert_eq!(publish(405), 5, "an equal plan is not a new version");
}

#[tokio::test]
async fn what_data_planes_say_is_known_while_they_are_connected() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;
    let version = server
        .publisher
        .publish("shared", plan(1, &[]), Arc::default())
        .unwrap();
    let credentials = credentials(&authority, "shared");
    let mut one = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
    let mut other = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
    one.next().await.unwrap();
    other.next().await.unwrap();
    let problem = Problem {
        message: "the port is taken".to_owned(),
        sockets: vec![([127, 0, 0, 1], 80).into()],
    };
    assert!(!server.report("shared").is_in_force(version));

    one.report(version, Outcome::InForce).await;
    other
        .report(version, Outcome::Refused(problem.clone()))
        .await;

    let told = async || (server.report("shared").problem() == Some(&problem)).then_some(());
    eventually("the problem is known", told).await;
    assert!(!server.report("shared").is_in_force(version));
    drop(other);
    let alone = async || server.report("shared").is_in_force(version).then_some(());
    eventually("the only connected data plane serves the version", alone).await;
    drop(one);
    let nobody = async || server.report("shared").data_planes.is_empty().then_some(());
    eventually("no data plane is connected", nobody).await;
}

#[tokio::test]
async fn a_plane_that_is_removed_is_emptied() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;
    server
        .publisher
        .publish("shared", plan(1, &[("/", 418)]), Arc::default())
        .unwrap();
    let credentials = credentials(&authority, "shared");
    let mut peer = Peer::open(&server, &credentials, PROTOCOL).await.unwrap();
    let first = peer.next().await.unwrap();
    peer.report(first.version, Outcome::InForce).await;

    server.publisher.remove("shared");

    let last = peer.next().await.unwrap();
    assert_eq!(last.plan, Arc::default());
    peer.report(last.version, Outcome::InForce).await;
    assert!(peer.next().await.is_none());
    assert_eq!(server.report("shared").published, None);
}

#[tokio::test]
async fn renewed_credentials_of_the_server_are_shown_to_new_connections() {
    let authority = authority();
    let server = Server::start(&authority, 0).await;
    let successor = authority.renew(SystemTime::now()).unwrap();
    let old = credentials(&authority, "shared");
    let new = credentials(&successor, "shared");

    let credentials = successor.controller(SystemTime::now()).unwrap();
    server.tls.replace(&credentials).unwrap();

    // A data plane that trusts the new CA can connect, even with a certificate of the previous CA.
    assert!(Peer::open(&server, &new, PROTOCOL).await.is_ok());
    let both = Credentials {
        authorities: new.authorities.clone(),
        ..old.clone()
    };
    assert!(Peer::open(&server, &both, PROTOCOL).await.is_ok());
    assert!(Peer::open(&server, &old, PROTOCOL).await.is_err());
}
