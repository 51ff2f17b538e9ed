//! What a real data plane does with what a real server sends.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use super::binary::{DataPlane, Server, eventually, free_port, plan, status};
use crate::serve::Authority;

/// An authority, and a folder with the credentials of a plane.
fn scene(plane: &str) -> (Authority, tempfile::TempDir) {
    let authority = Authority::create(SystemTime::now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let credentials = authority.plane(plane, SystemTime::now()).unwrap();
    credentials.write(folder.path()).unwrap();
    (authority, folder)
}

/// Waits until the gateway answers with this status.
async fn answers(port: u16, path: &str, expected: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let what = format!("{path} is answered {expected}");
    eventually(&what, async || {
        (status(address, path).await == Some(expected)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_plan_is_served_changed_and_kept_while_the_controller_is_away() {
    let (authority, folder) = scene("team/edge");
    let server = Server::start(&authority, 0).await;
    let port = free_port();
    let data_plane = DataPlane::start(server.address, folder.path());

    let first = plan(port, &[("/a", 418), ("/b", 410)]);
    let version = server
        .publisher
        .publish("team/edge", first.clone(), Arc::default())
        .unwrap();
    answers(port, "/a", 418).await;
    let reported = async || {
        server
            .report("team/edge")
            .is_in_force(version)
            .then_some(())
    };
    eventually("it is reported", reported).await;
    assert!(data_plane.is_ready().await);
    let report = server.report("team/edge");
    assert_eq!(report.data_planes.values().next().unwrap().name, "pod-1");

    server
        .publisher
        .publish(
            "team/edge",
            plan(port, &[("/a", 418), ("/b", 451)]),
            Arc::default(),
        )
        .unwrap();
    answers(port, "/b", 451).await;

    let at = server.address.port();
    drop(server);
    answers(port, "/a", 418).await;

    let server = Server::start(&authority, at).await;
    server
        .publisher
        .publish(
            "team/edge",
            plan(port, &[("/a", 404), ("/b", 451)]),
            Arc::default(),
        )
        .unwrap();
    answers(port, "/a", 404).await;
    answers(port, "/b", 451).await;
}
