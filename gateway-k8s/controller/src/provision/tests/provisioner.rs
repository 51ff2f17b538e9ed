//! Tests of the provisioner with an in-memory API server.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::super::apply::Provisioner;
use super::super::desired::Fate;
use super::super::options::{Mode, PlaneOptions};
use super::api::ApiServer;
use super::{gateway, tcp};
use crate::serve::CertificateAuthority;

const SERVICE: &str = "/api/v1/namespaces/gateway/services/shared-eg";
const SECRET: &str = "/api/v1/namespaces/gateway/secrets/shared-eg-credentials";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/gateway/deployments/shared-eg";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/gateway/endpointslices/shared-eg-ipv4";

const CONTROLLER: &str = "towergate.dev/gateway-controller";

fn provisioned(server: &ApiServer) -> Provisioner {
    provisioned_by(server, CONTROLLER)
}

fn provisioned_by(server: &ApiServer, controller: &str) -> Provisioner {
    let options = PlaneOptions::read(r#"{"image": "i", "from": "https://c"}"#).unwrap();
    Provisioner::new(
        server.client(),
        Mode::Provisioned(Box::new(options)),
        controller,
    )
}

/// A CA, and the time of its creation.
fn authority() -> (CertificateAuthority, SystemTime) {
    let now = SystemTime::now();
    (CertificateAuthority::create(now).unwrap(), now)
}

#[tokio::test]
async fn objects_are_made_once_and_then_left_in_peace() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    let provisioner = provisioned(&server);

    let first = provisioner
        .reconcile(&[gateway("shared")], &authority, now)
        .await;
    let made = server.writes().len();
    let second = provisioner
        .reconcile(
            &[gateway("shared")],
            &authority,
            now + Duration::from_secs(1),
        )
        .await;

    assert_eq!((first.changed, first.problems.len(), made), (5, 0, 5));
    assert_eq!(second, Default::default());
    assert!(server.writes().is_empty());
}

#[tokio::test]
async fn only_what_differs_is_written() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    let provisioner = provisioned(&server);
    let mut gateway = gateway("shared");
    provisioner
        .reconcile(&[gateway.clone()], &authority, now)
        .await;
    server.writes();

    gateway.ports.insert(tcp(443));
    provisioner
        .reconcile(&[gateway.clone()], &authority, now)
        .await;
    let of_ports = server.writes();
    provisioner
        .reconcile(
            &[gateway],
            &authority,
            now + Duration::from_secs(80 * 86_400),
        )
        .await;
    let of_time = server.writes();

    assert_eq!(of_ports, [format!("PATCH {SERVICE}")]);
    assert_eq!(of_time, [format!("PATCH {SECRET}")]);
}

#[tokio::test]
async fn an_object_that_others_made_is_never_touched() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    let others = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "shared-eg", "namespace": "gateway" },
    });
    server.put(SERVICE, others.clone());

    let report = provisioned(&server)
        .reconcile(&[gateway("shared")], &authority, now)
        .await;

    assert_eq!(server.find(SERVICE), Some(others));
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0]
            .1
            .contains("did not create it for the Gateway"),
        "{report:?}"
    );
    assert!(server.find(DEPLOYMENT).is_some());
}

#[tokio::test]
async fn objects_go_when_the_gateway_goes_to_another_controller_and_stay_when_it_is_broken() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    let provisioner = provisioned(&server);
    let mut gateway = gateway("shared");
    provisioner
        .reconcile(&[gateway.clone()], &authority, now)
        .await;

    gateway.fate = Fate::Keep;
    provisioner
        .reconcile(&[gateway.clone()], &authority, now)
        .await;
    let kept = server.paths().len();
    provisioner.reconcile(&[], &authority, now).await;
    let forgotten = server.paths().len();
    gateway.fate = Fate::Remove;
    provisioner.reconcile(&[gateway], &authority, now).await;

    assert_eq!((kept, forgotten, server.paths().len()), (5, 5, 0));
}

#[tokio::test]
async fn two_controllers_leave_each_others_objects_in_peace() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    let (ours, theirs) = (
        provisioned(&server),
        provisioned_by(&server, "example.com/second"),
    );
    let gateway = gateway("shared");
    let all = std::slice::from_ref(&gateway);
    ours.reconcile(all, &authority, now).await;
    let made = server.paths();
    theirs.learn(made.iter().map(|path| server.find(path).unwrap()));
    server.writes();
    let mut not_theirs = gateway.clone();
    not_theirs.fate = Fate::Remove;

    let removed = theirs.reconcile(&[not_theirs], &authority, now).await;
    let overwritten = theirs.reconcile(all, &authority, now).await;
    let second = ours.reconcile(all, &authority, now).await;

    assert_eq!(removed, Default::default());
    assert_eq!(overwritten.problems.len(), 5, "{overwritten:?}");
    assert_eq!(second, Default::default());
    assert!(server.writes().is_empty());
    assert_eq!(server.paths(), made);
}

#[tokio::test]
async fn without_credentials_nothing_is_made_and_nothing_goes() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    let provisioner = provisioned(&server);

    let report = provisioner
        .reconcile(&[gateway("un/lucky"), gateway("shared")], &authority, now)
        .await;

    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].1.contains("un/lucky"));
    assert_eq!(server.paths().len(), 5);
}

#[tokio::test]
async fn a_gateway_that_moves_to_the_shared_data_plane_loses_its_slices_with_its_service() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    provisioned(&server)
        .reconcile(&[gateway("shared")], &authority, now)
        .await;
    server.writes();
    let mut gateway = gateway("shared");
    gateway.pool = vec!["192.0.2.1".parse().unwrap()];

    let shared = Provisioner::new(server.client(), Mode::Shared, CONTROLLER);
    let report = shared.reconcile(&[gateway], &authority, now).await;

    assert_eq!(report.problems, []);
    let expected = [
        format!("DELETE {SERVICE}"),
        format!("PATCH {SERVICE}"),
        format!("PATCH {SLICE}"),
    ];
    assert_eq!(server.writes(), expected);
}

#[tokio::test]
async fn what_the_cluster_says_of_the_objects_is_observed() {
    let (server, (authority, now)) = (ApiServer::default(), authority());
    let provisioner = provisioned(&server);
    provisioner
        .reconcile(&[gateway("shared")], &authority, now)
        .await;

    let before = provisioner.observe(&gateway("shared"));
    let mut service = server.find(SERVICE).unwrap();
    service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    service["metadata"]["resourceVersion"] = "100".into();
    let mut deployment = server.find(DEPLOYMENT).unwrap();
    deployment["metadata"]["resourceVersion"] = "101".into();
    deployment["status"] = json!({ "availableReplicas": 1 });
    provisioner.learn([service, deployment]);
    let after = provisioner.observe(&gateway("shared"));

    assert_eq!(before, Default::default());
    assert_eq!(after.addresses, ["192.0.2.1"]);
    assert!(after.available);
}
