//! Labels, annotations and owner reference of provisioned objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::desired::GatewayToRun;
use super::kind::Kind;
use super::name;

/// Key and value of the label of all provisioned objects.
pub(super) const MANAGED_BY: (&str, &str) =
    ("app.kubernetes.io/managed-by", "towergate-controller");
/// The label that names the Gateway (GEP-1762).
pub(super) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that names the GatewayClass.
const CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
/// The annotation with the hash of the applied object.
pub(super) const APPLIED: &str = "towergate.dev/applied";
/// The annotation with the `controllerName` of the controller that created the object.
pub(super) const CONTROLLER: &str = "towergate.dev/controller";

/// A desired object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    /// Kind of the object.
    pub(crate) kind: Kind,
    /// Namespace of the object.
    pub(crate) namespace: String,
    /// Name of the object.
    pub(crate) name: String,
    /// The complete object as JSON.
    pub(crate) body: Value,
}

impl Manifest {
    /// An object of `gateway` with the fields of `rest` in addition to its metadata.
    pub(super) fn new(kind: Kind, gateway: &GatewayToRun, name: String, rest: Value) -> Self {
        let mut metadata = json!({
            "name": name,
            "namespace": gateway.key.namespace,
            "labels": labels(gateway),
            "ownerReferences": [owner(gateway)],
        });
        if !gateway.annotations.is_empty() {
            metadata["annotations"] = json!(gateway.annotations);
        }
        let mut body = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.name(),
            "metadata": metadata,
        });
        if let (Value::Object(body), Value::Object(rest)) = (&mut body, rest) {
            body.extend(rest);
        }
        Self {
            kind,
            namespace: gateway.key.namespace.clone(),
            name,
            body,
        }
    }

    /// Adds a label.
    pub(super) fn label(mut self, key: &str, value: &str) -> Self {
        self.body["metadata"]["labels"][key] = value.into();
        self
    }

    /// Adds annotations. Existing annotations take precedence.
    pub(super) fn annotate(mut self, annotations: &BTreeMap<String, String>) -> Self {
        if annotations.is_empty() {
            return self;
        }
        let metadata = &mut self.body["metadata"];
        if metadata.get("annotations").is_none() {
            metadata["annotations"] = Value::Object(Map::new());
        }
        for (key, value) in annotations {
            if metadata["annotations"].get(key).is_none() {
                metadata["annotations"][key] = value.clone().into();
            }
        }
        self
    }
}

/// The labels that select the pods of a Gateway. The selector of a Deployment is immutable: adding a label
/// here would force every Deployment to be replaced.
pub(super) fn selector(gateway: &GatewayToRun) -> BTreeMap<String, String> {
    [
        (MANAGED_BY.0, MANAGED_BY.1.to_owned()),
        (GATEWAY_NAME, name::of_label(&gateway.key.name)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Labels of every object and of pods: the labels of the Gateway and the labels of this program, which take
/// precedence.
pub(super) fn labels(gateway: &GatewayToRun) -> BTreeMap<String, String> {
    let mut labels = gateway.labels.clone();
    labels.extend(selector(gateway));
    labels.extend(
        [
            (CLASS_NAME, name::of_label(&gateway.class)),
            ("app.kubernetes.io/name", "towergate".to_owned()),
            ("app.kubernetes.io/component", "proxy".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    labels
}

/// The owner reference to the Gateway. `blockOwnerDeletion` is not set: it would require permission to change
/// finalizers of Gateways.
fn owner(gateway: &GatewayToRun) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": gateway.key.name,
        "uid": gateway.uid,
        "controller": true,
    })
}
