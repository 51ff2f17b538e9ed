//! Compares rendered objects with golden files. `UPDATE_GOLDEN=1` writes the files.

use std::path::Path;

use serde_json::json;
use towergate_k8s::decode::decode;
use towergate_policy::envoy_proxy::EnvoyProxySpec;

use super::super::kind::Kind;
use super::super::metadata::Manifest;
use super::super::options::PlaneOptions;
use super::super::render;
use super::{gateway, tcp, udp};
use crate::serve::Credentials;

/// Compares `manifests` with `golden/<name>.yaml`.
fn expect(name: &str, manifests: &[Manifest]) {
    let documents = manifests
        .iter()
        .map(|manifest| towergate_k8s::yaml::write(&manifest.body));
    let text = documents.collect::<Vec<_>>().join("---\n");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/provision/tests/golden");
    let path = folder.join(format!("{name}.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{name} differs from {}; actual content:\n{text}",
        path.display()
    );
}

fn provisioned(gateway: &super::GatewayToRun, options: &str) -> Vec<Manifest> {
    let options = PlaneOptions::read(options).unwrap();
    let credentials = Credentials {
        authorities: "authorities".to_owned(),
        certificate: "certificate".to_owned(),
        key: "key".to_owned(),
    };
    render::provisioned(gateway, &options, &credentials)
}

const PLAIN: &str =
    r#"{"image": "registry.example/towergate:1", "from": "https://controller:18000"}"#;

#[test]
fn a_gateway_has_data_planes_and_a_load_balancer() {
    let mut gateway = gateway("shared");
    gateway.ports.extend([tcp(443), tcp(8443), udp(53)]);

    expect("provisioned", &provisioned(&gateway, PLAIN));
}

#[test]
fn infrastructure_labels_and_annotations_are_on_everything_and_cannot_override_ours() {
    let mut gateway = gateway("shared");
    gateway.labels = [
        ("team".to_owned(), "edge".to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), "me".to_owned()),
    ]
    .into();
    gateway.annotations = [(
        "example.com/load-balancer".to_owned(),
        "internal".to_owned(),
    )]
    .into();

    let manifests = provisioned(&gateway, PLAIN);

    for manifest in &manifests {
        let metadata = &manifest.body["metadata"];
        assert_eq!(metadata["labels"]["team"], "edge", "{}", manifest.name);
        assert_eq!(
            metadata["annotations"]["example.com/load-balancer"],
            "internal"
        );
    }
    expect("infrastructure", &manifests);
}

#[test]
fn every_option_has_its_place() {
    let mut gateway = gateway("shared");
    gateway.addresses = vec!["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    let options = r#"{
        "image": "registry.example/towergate:1", "imagePullPolicy": "Always",
        "imagePullSecrets": ["registry"], "from": "https://controller:18000", "replicas": 3,
        "leaveSeconds": 5, "drainSeconds": 20, "args": ["--log=debug"],
        "resources": {"limits": {"memory": "512Mi"}},
        "volumes": [{"name": "geoip", "image": {"reference": "registry.example/geoip:1"}}],
        "volumeMounts": [{"name": "geoip", "mountPath": "/geoip", "readOnly": true}], "nodeSelector": {"edge": "true"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}}, "priorityClassName": "high",
        "service": {"type": "LoadBalancer", "loadBalancerClass": "example.com/lb",
                    "externalTrafficPolicy": "Cluster", "annotations": {"lb.example.com/proxy": "v2"}}
    }"#;

    expect("options", &provisioned(&gateway, options));
}

/// The EnvoyProxy with this spec in YAML.
fn proxy(spec: &str) -> Option<Box<EnvoyProxySpec>> {
    let text = format!(
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {{name: p, namespace: ns}}\nspec:\n{spec}"
    );
    let decoded = decode("a.yaml", &text);
    assert!(decoded.diagnostics.is_empty(), "{:?}", decoded.diagnostics);
    let proxy = decoded.objects.envoy_proxies.values().next();
    let spec = proxy.expect("it is decoded").spec.clone();
    assert_eq!((spec.error(), spec.ignored()), (None, Vec::new()));
    Some(Box::new(spec))
}

#[test]
fn an_item_of_an_envoy_proxy_replaces_ours_with_the_same_key() {
    let mut gateway = gateway("shared");
    gateway.proxy = proxy(
        "
  provider:
    type: Kubernetes
    kubernetes:
      envoyDeployment:
        pod:
          volumes: [{name: geoip, emptyDir: {}}, {name: towergate-state, emptyDir: {}}]
        container:
          env: [{name: TOWERGATE_ZONE, value: rack-7}]
          volumeMounts: [{name: geoip, mountPath: /geoip, subPath: own}]
      envoyService:
        patch: {value: {spec: {ports: [{port: 80, nodePort: 30080}]}}}",
    );
    let options = r#"{"image": "i", "from": "https://c", "volumes": [{"name": "geoip"}],
        "volumeMounts": [{"name": "geoip", "mountPath": "/geoip"}]}"#;

    let manifests = provisioned(&gateway, options);

    let of = |kind: Kind| &manifests.iter().find(|m| m.kind == kind).unwrap().body["spec"];
    let pod = &of(Kind::Deployment)["template"]["spec"];
    let container = &pod["containers"][0];
    let names = |list: &serde_json::Value| -> Vec<String> {
        let items = list.as_array().unwrap().iter();
        let names = items.map(|item| item["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(
        container["env"],
        json!([{ "name": "TOWERGATE_ZONE", "value": "rack-7" }])
    );
    let volumes = ["towergate-credentials", "towergate-state", "geoip"];
    assert_eq!(names(&pod["volumes"]), volumes);
    assert_eq!(pod["volumes"][1]["emptyDir"], json!({}));
    assert_eq!(names(&container["volumeMounts"]), volumes);
    assert_eq!(container["volumeMounts"][2]["subPath"], "own");
    let port = json!([{ "name": "tcp-80", "port": 80, "targetPort": 10080, "protocol": "TCP",
                        "nodePort": 30080 }]);
    assert_eq!(of(Kind::Service)["ports"], port);
}

#[test]
fn an_envoy_proxy_shapes_the_deployment_and_what_is_around_it() {
    let mut gateway = gateway("shared");
    gateway.annotations = [("key".to_owned(), "of the Gateway".to_owned())].into();
    gateway.proxy = proxy(include_str!("envoy_proxy_deployment.yaml"));
    let options = r#"{"image": "i", "from": "https://c", "replicas": 2, "args": ["--log=info"]}"#;

    expect("envoy_proxy_deployment", &provisioned(&gateway, options));
}

#[test]
fn an_envoy_proxy_with_a_daemon_set_has_no_deployment() {
    let mut gateway = gateway("shared");
    gateway.proxy = proxy(include_str!("envoy_proxy_daemonset.yaml"));
    let options = r#"{"image": "i", "from": "https://c", "replicas": 2}"#;

    expect("envoy_proxy_daemonset", &provisioned(&gateway, options));
}

#[test]
fn an_empty_envoy_proxy_changes_nothing() {
    let mut empty = gateway("shared");
    empty.proxy = proxy(
        "  provider: {type: Kubernetes, kubernetes: {envoyDeployment: {pod: {}, container: {}}}}",
    );

    assert_eq!(
        provisioned(&empty, PLAIN),
        provisioned(&gateway("shared"), PLAIN)
    );
}

#[test]
fn a_service_within_the_cluster_has_no_wishes_to_a_load_balancer() {
    let mut gateway = gateway("shared");
    gateway.addresses = vec!["192.0.2.1".parse().unwrap()];
    let options = r#"{"image": "i", "from": "https://c", "service": {"type": "ClusterIP"}}"#;

    let manifests = provisioned(&gateway, options);

    let spec = &manifests[2].body["spec"];
    assert_eq!(spec["type"], "ClusterIP");
    assert!(spec.get("externalTrafficPolicy").is_none() && spec.get("loadBalancerIP").is_none());
}

#[test]
fn the_longest_name_of_a_gateway_is_cut() {
    let name = "a".repeat(253);

    let manifests = provisioned(&gateway(&name), PLAIN);

    for manifest in &manifests {
        assert!(manifest.name.len() <= 63, "{}", manifest.name);
        let labels = manifest.body["metadata"]["labels"].as_object().unwrap();
        assert!(
            labels
                .values()
                .all(|value| value.as_str().unwrap().len() <= 63)
        );
        assert_eq!(
            manifest.body["metadata"]["ownerReferences"][0]["name"],
            *name
        );
    }
}

#[test]
fn a_gateway_of_the_shared_data_plane_has_a_name_in_the_cluster() {
    let mut gateway = gateway("shared");
    gateway.ports.extend([tcp(443), udp(53)]);
    gateway.annotations = [("key1".to_owned(), "value1".to_owned())].into();
    gateway.pool = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];

    expect("shared", &render::shared(&gateway));
}

#[test]
fn addresses_that_no_endpoint_may_have_make_none() {
    let mut gateway = gateway("shared");
    gateway.pool = ["127.0.0.1", "0.0.0.0", "169.254.1.1", "fe80::1", "::1"]
        .map(|address| address.parse().unwrap())
        .to_vec();

    assert_eq!(render::shared(&gateway).len(), 1);
}
