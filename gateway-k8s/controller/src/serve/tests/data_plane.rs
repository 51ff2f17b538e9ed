//! Tests of the `towergate` program as a data plane of the server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towergate_core::plan::{BackendId, Endpoints, Plan};
use towergate_policy::Policy;

use super::binary::{DataPlane, Server, eventually, free_port, plan, status};
use crate::serve::CertificateAuthority;

const PLANE: &str = "team/edge";

/// A CA, and a folder with the credentials of a plane.
fn scene() -> (CertificateAuthority, tempfile::TempDir) {
    let authority = CertificateAuthority::create(SystemTime::now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let credentials = authority.plane(PLANE, SystemTime::now()).unwrap();
    credentials.write(folder.path()).unwrap();
    (authority, folder)
}

impl Server {
    fn publish(&self, plan: Arc<Plan<Policy>>) -> u64 {
        self.publisher.publish(PLANE, plan, Arc::default()).unwrap()
    }

    async fn served(&self, version: u64) {
        let served = async || self.report(PLANE).is_in_force(version).then_some(());
        eventually("the data plane serves the plan", served).await;
    }
}

/// Waits until the gateway responds to `path` with the status `expected`.
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
    let (authority, folder) = scene();
    let server = Server::start(&authority, 0).await;
    let port = free_port();
    let data_plane = DataPlane::start(server.address, folder.path());
    let connected = async || (!server.report(PLANE).data_planes.is_empty()).then_some(());
    eventually("it is connected", connected).await;
    eventually("the admin endpoint responds", async || {
        status(data_plane.admin, "/ready").await
    })
    .await;
    assert!(!data_plane.is_ready().await, "no plan was published yet");

    let version = server.publish(plan(port, &[("/a", 418), ("/b", 410)]));
    answers(port, "/a", 418).await;
    server.served(version).await;
    assert!(data_plane.is_ready().await);
    let report = server.report(PLANE);
    assert_eq!(report.data_planes.values().next().unwrap().name, "pod-1");

    server.publish(plan(port, &[("/a", 418), ("/b", 451)]));
    answers(port, "/b", 451).await;

    let at = server.address.port();
    drop(server);
    let away = async || {
        data_plane
            .log()
            .contains("connection to the controller lost")
            .then_some(())
    };
    eventually("it is noticed", away).await;
    answers(port, "/a", 418).await;

    let server = Server::start(&authority, at).await;
    server.publish(plan(port, &[("/a", 404), ("/b", 451)]));
    answers(port, "/a", 404).await;
    answers(port, "/b", 451).await;
}

#[tokio::test]
async fn after_a_restart_it_serves_what_it_had_without_a_controller() {
    let (authority, folder) = scene();
    let server = Server::start(&authority, 0).await;
    let (port, at) = (free_port(), server.address);
    let data_plane = DataPlane::start(at, folder.path());
    let version = server.publish(plan(port, &[("/a", 418)]));
    server.served(version).await;
    let file = folder.path().join("state/plan");
    eventually("the state is written", async || file.exists().then_some(())).await;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop((server, data_plane));

    let data_plane = DataPlane::start(at, folder.path());
    answers(port, "/a", 418).await;
    eventually("it is ready", async || {
        data_plane.is_ready().await.then_some(())
    })
    .await;

    let server = Server::start(&authority, at.port()).await;
    let version = server.publish(plan(port, &[("/a", 418)]));
    server.served(version).await;
    drop((server, data_plane));

    // A truncated state file is ignored.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let data_plane = DataPlane::start(at, folder.path());
    let logged = async || {
        data_plane
            .log()
            .contains("state file is invalid and ignored")
            .then_some(())
    };
    eventually("the log reports it", logged).await;
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_reported_and_tried_again() {
    let (authority, folder) = scene();
    let server = Server::start(&authority, 0).await;
    let (port, taken) = (
        free_port(),
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
    );
    let address = taken.local_addr().unwrap();
    let _data_plane = DataPlane::start(server.address, folder.path());
    let first = server.publish(plan(port, &[("/a", 418)]));
    server.served(first).await;

    let mut both = Plan::clone(&plan(port, &[("/a", 410)]));
    let blocked = Plan::clone(&plan(address.port(), &[("/a", 410)]));
    both.ports.extend(blocked.ports);
    let second = server.publish(Arc::new(both));

    let problem = async || server.report(PLANE).problem().cloned();
    let problem = eventually("a problem is reported", problem).await;
    assert_eq!(problem.sockets, [address]);
    assert!(problem.message.contains("cannot listen on"), "{problem:?}");
    server.served(second).await;
    answers(port, "/a", 410).await;

    drop(taken);
    answers(address.port(), "/a", 410).await;
    let solved = async || server.report(PLANE).problem().is_none().then_some(());
    eventually("no problem is reported", solved).await;
}

/// Starts a backend that responds to every request with `status`.
async fn backend(status: u16) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer =
                format!("HTTP/1.1 {status} Test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn endpoints_change_without_the_plan() {
    let (authority, folder) = scene();
    let server = Server::start(&authority, 0).await;
    let port = free_port();
    let app = BackendId::service("team", "app", 80);
    let mut plan = Plan::clone(&plan(port, &[("/a", 418)]));
    let route = &mut plan.ports[0].listeners[0].routes[0];
    let rule = Arc::make_mut(&mut Arc::make_mut(route).rules[0]);
    rule.respond = None;
    *rule = rule.clone().to(&app);
    let plan = Arc::new(plan);
    let _data_plane = DataPlane::start(server.address, folder.path());

    for status in [410, 451] {
        let endpoints = Endpoints::from([(app.clone(), vec![backend(status).await.into()])]);
        server
            .publisher
            .publish(PLANE, plan.clone(), Arc::new(endpoints))
            .unwrap();
        answers(port, "/a", status).await;
    }
}

#[tokio::test]
async fn new_credentials_are_taken_up_and_those_of_strangers_are_of_no_use() {
    let (authority, folder) = scene();
    let server = Server::start(&authority, 0).await;
    let port = free_port();
    let stranger = CertificateAuthority::create(SystemTime::now()).unwrap();
    stranger
        .plane(PLANE, SystemTime::now())
        .unwrap()
        .write(folder.path())
        .unwrap();
    let data_plane = DataPlane::start(server.address, folder.path());
    server.publish(plan(port, &[("/a", 418)]));
    let told = async || data_plane.log().contains("cannot be reached").then_some(());
    eventually("the data plane does not trust the server", told).await;
    assert_eq!(server.report(PLANE).data_planes.len(), 0);

    authority
        .plane(PLANE, SystemTime::now())
        .unwrap()
        .write(folder.path())
        .unwrap();
    answers(port, "/a", 418).await;
    let first = async || server.report(PLANE).data_planes.keys().next().copied();
    let first = eventually("it is connected", first).await;

    authority
        .plane(PLANE, SystemTime::now())
        .unwrap()
        .write(folder.path())
        .unwrap();
    let again = async || {
        let now = server.report(PLANE).data_planes.keys().next().copied();
        now.filter(|now| *now != first)
    };
    eventually("it connects anew", again).await;
    answers(port, "/a", 418).await;
}
