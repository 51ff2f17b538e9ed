//! Tests of the controller with a real API server. They run only if `TOWERGATE_TEST_KUBECONFIG` names a
//! kubeconfig of a test cluster, such as that of `gateway-k8s/conformance/cluster`, with administrator
//! permissions. Each test has its own namespace, GatewayClass and controller name.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use towergate_k8s::ObjectKey;
use towergate_k8s::ingress::Manifests;

const KUBECONFIG: &str = "TOWERGATE_TEST_KUBECONFIG";
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
/// Time limit of each wait. It is long, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster, with the namespace and the GatewayClass of one test.
struct Cluster {
    client: Client,
    kubeconfig: String,
    /// Name of the namespace and the class, and part of the controller's name.
    name: String,
}

/// A controller process. It is killed on drop, so it does not release the Lease.
struct Controller(Child);

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    /// Connects to the test cluster. `None`: no test cluster is configured.
    async fn find(test: &str) -> Option<Self> {
        let Ok(kubeconfig) = std::env::var(KUBECONFIG) else {
            // `eprintln!` is not used, because the test harness hides its output if the test passes.
            let skipped = format!("SKIPPED {test}: {KUBECONFIG} does not name a test cluster\n");
            let _ = std::io::stderr().write_all(skipped.as_bytes());
            return None;
        };
        let read = Kubeconfig::read_from(&kubeconfig).expect("the kubeconfig can be read");
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("the kubeconfig is usable"));
        let cluster = Self {
            client: client.expect("a client"),
            kubeconfig,
            name: format!("test-{test}-{:08x}", fastrand::u32(..)),
        };
        let namespace = json!({"metadata": {"name": cluster.name}});
        cluster.create("v1", "Namespace", namespace).await;
        let class = json!({
            "metadata": {"name": cluster.name},
            "spec": {"controllerName": cluster.controller_name()},
        });
        cluster.create(GATEWAY_API, "GatewayClass", class).await;
        Some(cluster)
    }

    fn controller_name(&self) -> String {
        format!("{}.example/controller", self.name)
    }

    /// Starts a controller with an address pool of two addresses.
    fn start(&self, identity: &str) -> Controller {
        self.start_with(identity, &[])
    }

    fn start_with(&self, identity: &str, options: &[&str]) -> Controller {
        let child = Command::new(env!("CARGO_BIN_EXE_towergate-controller"))
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--controller-name", &self.controller_name()])
            .args(["--lease-namespace", &self.name, "--identity", identity])
            .args([
                "--mode",
                "shared",
                "--address-pool",
                "192.0.2.1",
                "--address-pool",
                "192.0.2.2",
            ])
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--log",
                "warn",
            ])
            .args(options)
            .stdin(Stdio::null())
            .spawn();
        Controller(child.expect("the controller starts"))
    }

    fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: match kind {
                "GatewayClass" => "gatewayclasses".to_owned(),
                "Ingress" => "ingresses".to_owned(),
                _ => format!("{}s", kind.to_lowercase()),
            },
        };
        match kind {
            "Namespace" | "GatewayClass" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), &self.name, &resource),
        }
    }

    async fn create(&self, api_version: &str, kind: &str, mut object: Value) {
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        let object = serde_json::from_value(object).expect("an object");
        let created = self
            .api(api_version, kind)
            .create(&PostParams::default(), &object)
            .await;
        created.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }

    async fn create_gateway(&self, name: &str) {
        let gateway = json!({
            "metadata": {"name": name},
            "spec": {
                "gatewayClassName": self.name,
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        });
        self.create(GATEWAY_API, "Gateway", gateway).await;
    }

    async fn delete(&self, kind: &str, name: &str) {
        let api = self.api(GATEWAY_API, kind);
        api.delete(name, &Default::default())
            .await
            .expect("it can be deleted");
    }

    /// Waits until `wanted` returns `true` for the status of an object. Returns the status.
    async fn status(&self, kind: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let api = self.api(api_version(kind), kind);
        let begin = Instant::now();
        loop {
            let object = api.get_opt(name).await.expect("the server answers");
            let status = object.map(|object| object.data["status"].clone());
            let status = status.unwrap_or_default();
            if wanted(&status) {
                return status;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{kind} {name} does not reach the expected status: {status:#}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn end(self) {
        let _ = self
            .api(GATEWAY_API, "GatewayClass")
            .delete(&self.name, &Default::default())
            .await;
        let _ = self
            .api("v1", "Namespace")
            .delete(&self.name, &Default::default())
            .await;
    }
}

fn api_version(kind: &str) -> &'static str {
    match kind {
        "Ingress" => "networking.k8s.io/v1",
        _ => GATEWAY_API,
    }
}

/// The status and reason of a condition.
fn condition<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str) {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|one| one["type"] == kind);
    found.map_or(("", ""), |one| {
        let text = |field: &str| one[field].as_str().unwrap_or_default();
        (text("status"), text("reason"))
    })
}

/// Whether a Gateway has an address and lacks only a data plane, which these tests do not connect.
fn is_placed(status: &Value) -> bool {
    condition(status, "Programmed") == ("False", "Pending") && !address(status).is_empty()
}

fn address(status: &Value) -> &str {
    status["addresses"][0]["value"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn gateways_get_addresses_and_everybody_is_told_how_things_stand() {
    let Some(cluster) = Cluster::find("statuses").await else {
        return;
    };
    let _controller = cluster.start("one");
    cluster.create_gateway("a").await;
    let a = cluster.status("Gateway", "a", is_placed).await;
    assert_eq!(address(&a), "192.0.2.1");
    let class = cluster.name.clone();
    let accepted = |status: &Value| condition(status, "Accepted").0 == "True";
    let class = cluster.status("GatewayClass", &class, accepted).await;
    assert!(
        class["supportedFeatures"]
            .as_array()
            .is_some_and(|features| !features.is_empty())
    );

    // A third Gateway has no address until another one is deleted.
    cluster.create_gateway("b").await;
    cluster.status("Gateway", "b", is_placed).await;
    cluster.create_gateway("c").await;
    let without =
        |status: &Value| condition(status, "Programmed") == ("False", "AddressNotAssigned");
    cluster.status("Gateway", "c", without).await;
    cluster.delete("Gateway", "a").await;
    let c = cluster.status("Gateway", "c", is_placed).await;
    assert_eq!(address(&c), "192.0.2.1");
    cluster.end().await;
}

#[tokio::test]
async fn entries_of_others_stay_and_ours_go_with_their_parent() {
    let Some(cluster) = Cluster::find("parents").await else {
        return;
    };
    let route = json!({
        "metadata": {"name": "web"},
        "spec": {"parentRefs": [{"name": "a"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
    });
    cluster.create(GATEWAY_API, "HTTPRoute", route).await;
    let theirs = json!({
        "controllerName": "example.com/other",
        "parentRef": {"name": "elsewhere"},
        "conditions": [{
            "type": "Accepted", "status": "True", "reason": "Fine", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    let patch = json!({"status": {"parents": [theirs]}});
    let routes = cluster.api(GATEWAY_API, "HTTPRoute");
    let patched = routes
        .patch_status("web", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.expect("another controller may write");

    cluster.create_gateway("a").await;
    let _controller = cluster.start("one");

    let both = |status: &Value| {
        status["parents"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    };
    let status = cluster.status("HTTPRoute", "web", both).await;
    assert_eq!(status["parents"][0]["controllerName"], "example.com/other");
    assert_eq!(
        status["parents"][0]["conditions"][0]["lastTransitionTime"],
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(
        condition(&status["parents"][1], "Accepted"),
        ("True", "Accepted")
    );
    assert_eq!(
        condition(&status["parents"][1], "ResolvedRefs"),
        ("False", "BackendNotFound")
    );
    cluster.delete("Gateway", "a").await;
    let one = |status: &Value| {
        status["parents"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    };
    let status = cluster.status("HTTPRoute", "web", one).await;
    assert_eq!(status["parents"][0]["controllerName"], "example.com/other");
    cluster.end().await;
}

#[tokio::test]
async fn another_controller_takes_over_and_keeps_the_addresses() {
    let Some(cluster) = Cluster::find("lease").await else {
        return;
    };
    let first = cluster.start("first");
    cluster.create_gateway("a").await;
    cluster.create_gateway("b").await;
    let b = cluster.status("Gateway", "b", is_placed).await;
    cluster.delete("Gateway", "a").await;
    let _second = cluster.start("second");

    // The controller is killed and does not release the Lease.
    drop(first);

    let patch = json!({"spec": {"listeners": [
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "more", "port": 81, "protocol": "HTTP"},
    ]}});
    let gateways = cluster.api(GATEWAY_API, "Gateway");
    gateways
        .patch("b", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("it can be changed");
    let two = |status: &Value| {
        status["listeners"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    };
    let after = cluster.status("Gateway", "b", two).await;
    assert_eq!(address(&after), address(&b));
    cluster.end().await;
}

/// An Ingress of class `nginx` for `NAME.example.com`.
fn ingress(name: &str, annotations: Value) -> Value {
    json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{"host": format!("{name}.example.com"), "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}],
        },
    })
}

#[tokio::test]
async fn ingresses_get_a_gateway_its_address_and_events() {
    let Some(cluster) = Cluster::find("ingresses").await else {
        return;
    };
    let _controller = cluster.start_with(
        "one",
        &[
            "--ingress-class=nginx",
            "--ingress-gateway-class",
            &cluster.name,
        ],
    );
    let kind = api_version("Ingress");
    let shop = ingress("shop", json!({}));
    cluster.create(kind, "Ingress", shop).await;

    let addressed = |status: &Value| status["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1";
    cluster.status("Ingress", "shop", addressed).await;
    let gateway = cluster.status("Gateway", "nginx", is_placed).await;
    let attached = |status: &Value| status["listeners"][0]["attachedRoutes"] == 1;
    assert_eq!(address(&gateway), "192.0.2.1");
    cluster.status("Gateway", "nginx", attached).await;

    let gateways = cluster.api(GATEWAY_API, "Gateway");
    let first = gateways.get("nginx").await.expect("it exists").metadata.uid;
    gateways
        .delete("nginx", &Default::default())
        .await
        .expect("it can be deleted");
    let begin = Instant::now();
    loop {
        let restored = gateways.get_opt("nginx").await.expect("an answer");
        if restored.is_some_and(|gateway| gateway.metadata.uid != first) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "the Gateway is not restored");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.status("Gateway", "nginx", attached).await;

    let fcgi = json!({"nginx.ingress.kubernetes.io/backend-protocol": "FCGI"});
    cluster.create(kind, "Ingress", ingress("php", fcgi)).await;
    cluster.status("Ingress", "php", addressed).await;
    let events = cluster.api("events.k8s.io/v1", "Event");
    let begin = Instant::now();
    loop {
        let all = events.list(&Default::default()).await.expect("events");
        let told = all.into_iter().find(|event| {
            event.data["regarding"]["name"] == "php" && event.data["reason"] == "NotTranslated"
        });
        if let Some(event) = told {
            let note = event.data["note"].as_str().unwrap_or_default();
            assert!(note.contains("FastCGI"), "{note}");
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "no Event");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let api = cluster.api(kind, "Ingress");
    api.delete("shop", &Default::default())
        .await
        .expect("it can be deleted");
    let route_of_php = |status: &Value| status["listeners"][0]["attachedRoutes"] == 1;
    cluster.status("Gateway", "nginx", route_of_php).await;
    cluster.end().await;
}

#[tokio::test]
async fn the_plugin_collects_ingresses_and_no_private_key() {
    let Some(cluster) = Cluster::find("plugin").await else {
        return;
    };
    let annotations = json!({"nginx.ingress.kubernetes.io/auth-secret": "users"});
    let mut shop = ingress("shop", annotations);
    shop["spec"]["tls"] = json!([{"hosts": ["shop.example.com"], "secretName": "shop-tls"}]);
    cluster
        .create(api_version("Ingress"), "Ingress", shop)
        .await;
    for (name, data) in [
        ("users", json!({"auth": "alice:{SHA}secret"})),
        (
            "shop-tls",
            json!({
                "tls.crt": "-----BEGIN CERTIFICATE-----",
                "tls.key": "-----BEGIN PRIVATE KEY-----\nthe key",
            }),
        ),
        ("other", json!({"token": "unrelated"})),
    ] {
        let secret = json!({"metadata": {"name": name}, "stringData": data});
        cluster.create("v1", "Secret", secret).await;
    }

    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-towergate"))
        .args(["--kubeconfig", &cluster.kubeconfig, "collect"])
        .output()
        .expect("the plugin runs");

    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut manifests = Manifests::default();
    manifests.add("cluster", &text);
    assert_eq!(manifests.errors, []);
    let key = |name: &str| ObjectKey::new(&*cluster.name, name);
    let ingresses = manifests.ingresses.iter();
    assert!(ingresses.map(|one| &one.key).any(|one| *one == key("shop")));
    assert_eq!(
        manifests.secrets[&key("users")].values["auth"],
        b"alice:{SHA}secret"
    );
    let pair = &manifests.secrets[&key("shop-tls")].values;
    assert!(!pair["tls.key"].ends_with(b"the key"));
    assert!(!manifests.secrets.contains_key(&key("other")));
    cluster.end().await;
}
