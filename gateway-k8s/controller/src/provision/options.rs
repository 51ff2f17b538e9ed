//! What data planes are to be like: read from a file that the installation writes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// How Gateways are run.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// By a data plane for all of them, on addresses of a pool.
    Shared,
    /// By data planes of their own.
    Provisioned(Box<PlaneOptions>),
}

/// What data planes are to be like.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PlaneOptions {
    /// The image of `towergate`.
    pub(crate) image: String,
    /// `Always`, `IfNotPresent` or `Never`; the cluster's default if missing.
    #[serde(default)]
    pub(crate) image_pull_policy: Option<String>,
    /// Names of Secrets to pull the image with; they must be in the namespaces of the Gateways.
    #[serde(default)]
    pub(crate) image_pull_secrets: Vec<String>,
    /// Where data planes get their configuration from: the URL of the controller.
    pub(crate) from: String,
    /// How many pods a Gateway has. Missing: as many as somebody else says, such as an autoscaler.
    #[serde(default)]
    pub(crate) replicas: Option<u32>,
    /// How long a pod that is to end still takes connections, until everybody knows of it, in seconds.
    #[serde(default = "leave_seconds")]
    pub(crate) leave_seconds: u32,
    /// How long requests may take to finish after that, in seconds.
    #[serde(default = "drain_seconds")]
    pub(crate) drain_seconds: u32,
    /// Further arguments of `towergate run`.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Resources of the container, as in a Pod.
    #[serde(default = "resources")]
    pub(crate) resources: Value,
    /// Labels of the nodes that pods may run on.
    #[serde(default)]
    pub(crate) node_selector: BTreeMap<String, String>,
    /// Tolerations of the pods.
    #[serde(default)]
    pub(crate) tolerations: Vec<Value>,
    /// Affinity of the pods.
    #[serde(default)]
    pub(crate) affinity: Option<Value>,
    /// Priority class of the pods.
    #[serde(default)]
    pub(crate) priority_class_name: Option<String>,
    /// What Services are to be like.
    #[serde(default)]
    pub(crate) service: ServiceOptions,
}

/// What Services of Gateways are to be like.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServiceOptions {
    /// `LoadBalancer`, `NodePort` or `ClusterIP`.
    #[serde(default, rename = "type")]
    pub(crate) kind: ServiceType,
    /// Which of several load balancers of the cluster.
    #[serde(default)]
    pub(crate) load_balancer_class: Option<String>,
    /// `Local` (as in Envoy Gateway: pods see the clients' addresses) or `Cluster`.
    #[serde(default)]
    pub(crate) external_traffic_policy: TrafficPolicy,
    /// Annotations, which most load balancers take settings from.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The type of Services.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub(crate) enum ServiceType {
    /// A load balancer of the cluster.
    #[default]
    LoadBalancer,
    /// A port of each node.
    NodePort,
    /// Within the cluster only.
    ClusterIP,
}

/// Which pods a node leads to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub(crate) enum TrafficPolicy {
    /// Those on the node.
    #[default]
    Local,
    /// All of them; they see the node's address as the client's.
    Cluster,
}

impl ServiceType {
    /// The API's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
            Self::ClusterIP => "ClusterIP",
        }
    }
}

impl TrafficPolicy {
    /// The API's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "Local",
            Self::Cluster => "Cluster",
        }
    }
}

impl PlaneOptions {
    /// Reads the options from JSON.
    ///
    /// # Errors
    /// If a field is missing, not known or of another type: what is asked for and not done would be
    /// found out too late.
    pub(crate) fn read(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// Load balancers look every few seconds, and kube-proxy needs one or two.
fn leave_seconds() -> u32 {
    10
}

fn drain_seconds() -> u32 {
    60
}

/// Enough to be scheduled sensibly. There is no limit: a gateway that is throttled is slow for everybody.
fn resources() -> Value {
    json!({ "requests": { "cpu": "100m", "memory": "64Mi" } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_and_a_controller_are_enough() {
        let options = PlaneOptions::read(r#"{"image": "i", "from": "https://c"}"#).unwrap();

        assert_eq!(options.service.kind, ServiceType::LoadBalancer);
        assert_eq!(
            options.service.external_traffic_policy,
            TrafficPolicy::Local
        );
        assert_eq!((options.leave_seconds, options.drain_seconds), (10, 60));
        assert_eq!(options.replicas, None);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for json in [
            r#"{"image": "i"}"#,
            r#"{"image": "i", "from": "u", "replica": 2}"#,
            r#"{"image": "i", "from": "u", "service": {"type": "ExternalName"}}"#,
            r#"{"image": "i", "from": "u", "service": {"externalIPs": []}}"#,
        ] {
            assert!(PlaneOptions::read(json).is_err(), "{json}");
        }
    }
}
