//! Options of provisioned data planes, read from the JSON file of `--data-plane`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// How data planes are provisioned.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// One data plane serves all Gateways, on addresses of a pool.
    Shared,
    /// Each Gateway has its own data planes.
    Provisioned(Box<PlaneOptions>),
}

/// Options of the data planes of every Gateway.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PlaneOptions {
    /// Container image of `towergate`.
    pub(crate) image: String,
    /// `Always`, `IfNotPresent` or `Never`. Default: the default of the cluster.
    #[serde(default)]
    pub(crate) image_pull_policy: Option<String>,
    /// Names of the image pull Secrets, which must exist in the namespaces of the Gateways. Default: none.
    #[serde(default)]
    pub(crate) image_pull_secrets: Vec<String>,
    /// URL of the controller that data planes connect to.
    pub(crate) from: String,
    /// Number of pods per Gateway. Default: not set, which leaves the number to an autoscaler.
    #[serde(default)]
    pub(crate) replicas: Option<u32>,
    /// Time for which a terminating pod accepts connections while load balancers remove it, in seconds.
    /// Default: 10.
    #[serde(default = "leave_seconds")]
    pub(crate) leave_seconds: u32,
    /// Drain timeout of the requests in flight after `leave_seconds`, in seconds. Default: 60.
    #[serde(default = "drain_seconds")]
    pub(crate) drain_seconds: u32,
    /// Additional arguments of `towergate run`. Default: none.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// `resources` of the container. Default: requests of 100m CPU and 64Mi memory, no limits.
    #[serde(default = "resources")]
    pub(crate) resources: Value,
    /// Further `volumes` of the pods. Default: none.
    #[serde(default)]
    pub(crate) volumes: Vec<Value>,
    /// `volumeMounts` of the container for `volumes`. Default: none.
    #[serde(default)]
    pub(crate) volume_mounts: Vec<Value>,
    /// `nodeSelector` of the pods. Default: empty.
    #[serde(default)]
    pub(crate) node_selector: BTreeMap<String, String>,
    /// `tolerations` of the pods. Default: none.
    #[serde(default)]
    pub(crate) tolerations: Vec<Value>,
    /// `affinity` of the pods. Default: none.
    #[serde(default)]
    pub(crate) affinity: Option<Value>,
    /// `priorityClassName` of the pods. Default: none.
    #[serde(default)]
    pub(crate) priority_class_name: Option<String>,
    /// Options of the Services.
    #[serde(default)]
    pub(crate) service: ServiceOptions,
}

/// Options of the Service of every Gateway.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServiceOptions {
    /// Type of the Service. Default: `LoadBalancer`.
    #[serde(default, rename = "type")]
    pub(crate) kind: ServiceType,
    /// `spec.loadBalancerClass` of the Service. Default: the default load balancer of the cluster.
    #[serde(default)]
    pub(crate) load_balancer_class: Option<String>,
    /// `spec.externalTrafficPolicy` of the Service. Default: `Local`, as in Envoy Gateway.
    #[serde(default)]
    pub(crate) external_traffic_policy: TrafficPolicy,
    /// Annotations of the Service, which configure most load balancers. Default: none.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The type of a Service.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub(crate) enum ServiceType {
    /// Reachable at the address of a load balancer.
    #[default]
    LoadBalancer,
    /// Reachable at a port of each node.
    NodePort,
    /// Reachable within the cluster only.
    ClusterIP,
}

/// The pods to which a node forwards external traffic.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub(crate) enum TrafficPolicy {
    /// The pods on the same node. They receive the client address.
    #[default]
    Local,
    /// All pods. They receive the address of the node as client address.
    Cluster,
}

impl ServiceType {
    /// The name in the Kubernetes API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
            Self::ClusterIP => "ClusterIP",
        }
    }
}

impl TrafficPolicy {
    /// The name in the Kubernetes API.
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
    /// If a required field is missing, or a field is unknown or has another type. An unknown field is an
    /// error; otherwise a misspelt option would go unnoticed.
    pub(crate) fn read(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// Default of `leave_seconds`. It covers a load balancer with a health check interval of a few seconds, and
/// the 1 to 2 s of a kube-proxy update.
fn leave_seconds() -> u32 {
    10
}

fn drain_seconds() -> u32 {
    60
}

/// Default resources. The requests let the scheduler place pods. There are no limits, because CPU throttling
/// would delay all requests.
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
