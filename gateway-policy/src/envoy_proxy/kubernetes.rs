//! `provider.kubernetes`: the objects of data planes in a cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;

string_enum! {
    /// The type of a Service.
    pub enum EnvoyServiceType {
        ClusterIp = "ClusterIP",
        LoadBalancer = "LoadBalancer",
        NodePort = "NodePort",
    }

    /// The pods to which a node forwards external traffic.
    pub enum TrafficPolicy {
        Local = "Local",
        Cluster = "Cluster",
    }

    /// How a patch is applied.
    pub enum PatchKind {
        StrategicMerge = "StrategicMerge",
        JsonMerge = "JSONMerge",
    }
}

api_struct! {
    /// Objects of data planes in a cluster.
    pub struct EnvoyKubernetesProvider {
        /// Deployment of the pods. This is the default.
        deployment: EnvoyDeployment = "envoyDeployment",
        /// DaemonSet of the pods, instead of a Deployment.
        daemon_set: EnvoyDaemonSet = "envoyDaemonSet",
        /// Service in front of the pods.
        service: EnvoyService = "envoyService",
        /// Autoscaler of the Deployment.
        hpa: EnvoyHpa = "envoyHpa",
        /// Disruption budget of the pods.
        budget: EnvoyDisruptionBudget = "envoyPDB",
        /// ServiceAccount of the pods. It has no permissions and no settings.
        service_account: Value = "envoyServiceAccount" Ignored,
        /// Whether pods bind the port numbers of listeners. Ports below 1024 require privileges.
        use_listener_port_as_container_port: bool = "useListenerPortAsContainerPort" Ignored,
    }

    /// Deployment of data planes.
    pub struct EnvoyDeployment {
        /// Patch of the Deployment.
        patch: ObjectPatch = "patch",
        /// Number of pods. Default: that of the controller.
        replicas: i64 = "replicas" [Range(0, 2147483647)],
        /// Update strategy (DeploymentStrategy).
        strategy: Value = "strategy",
        /// Pods.
        pod: EnvoyPod = "pod",
        /// Container of the data plane.
        container: EnvoyContainer = "container",
        /// Further init containers.
        init_containers: Vec<Value> = "initContainers",
        /// Name of the Deployment. Default: derived from the names of the Gateway and the GatewayClass.
        name: String = "name" [Length(1, 63)],
    }

    /// DaemonSet of data planes.
    pub struct EnvoyDaemonSet {
        /// Patch of the DaemonSet.
        patch: ObjectPatch = "patch",
        /// Update strategy (DaemonSetUpdateStrategy).
        strategy: Value = "strategy",
        /// Pods.
        pod: EnvoyPod = "pod",
        /// Container of the data plane.
        container: EnvoyContainer = "container",
        /// Further init containers.
        init_containers: Vec<Value> = "initContainers",
        /// Name of the DaemonSet. Default: derived from the names of the Gateway and the GatewayClass.
        name: String = "name" [Length(1, 63)],
    }

    /// Pods of data planes.
    pub struct EnvoyPod {
        /// Annotations.
        annotations: BTreeMap<String, String> = "annotations",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Security context (PodSecurityContext). Fields that are not set keep their value.
        security_context: Value = "securityContext",
        /// Affinity.
        affinity: Value = "affinity",
        /// Tolerations.
        tolerations: Vec<Value> = "tolerations",
        /// Node selector.
        node_selector: BTreeMap<String, String> = "nodeSelector",
        /// Spread over nodes and zones. Default: over nodes, as far as possible.
        topology_spread_constraints: Vec<Value> = "topologySpreadConstraints",
        /// Further volumes.
        volumes: Vec<Value> = "volumes",
        /// Image pull Secrets, in the namespace of the Gateway.
        image_pull_secrets: Vec<Value> = "imagePullSecrets",
        /// Priority class.
        priority_class_name: String = "priorityClassName",
    }

    /// Container of the data plane.
    pub struct EnvoyContainer {
        /// Environment variables.
        env: Vec<Value> = "env",
        /// Requests and limits. Default: those of the controller.
        resources: Value = "resources",
        /// Security context. Fields that are not set keep their value.
        security_context: Value = "securityContext",
        /// Mounts of further volumes.
        volume_mounts: Vec<Value> = "volumeMounts",
        /// Image of Envoy.
        image: String = "image" Ignored,
        /// Repository of the image of Envoy.
        image_repository: String = "imageRepository" Ignored,
    }

    /// Service in front of data planes.
    pub struct EnvoyService, rules {
        /// Annotations.
        annotations: BTreeMap<String, String> = "annotations",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Type. Default: `LoadBalancer`.
        kind: EnvoyServiceType = "type",
        /// Load balancer class.
        load_balancer_class: String = "loadBalancerClass",
        /// Whether ports of nodes are allocated for a load balancer.
        allocate_load_balancer_node_ports: bool = "allocateLoadBalancerNodePorts",
        /// Networks of clients that the load balancer admits.
        load_balancer_source_ranges: Vec<String> = "loadBalancerSourceRanges",
        /// Address that is requested from the load balancer.
        load_balancer_ip: String = "loadBalancerIP",
        /// Pods to which a node forwards traffic. Default: `Local`.
        external_traffic_policy: TrafficPolicy = "externalTrafficPolicy",
        /// Patch of the Service.
        patch: ObjectPatch = "patch",
        /// Name of the Service. Default: derived from the names of the Gateway and the GatewayClass.
        name: String = "name" [Length(1, 63)],
    }

    /// Autoscaler (HorizontalPodAutoscaler).
    pub struct EnvoyHpa {
        /// Lowest number of pods.
        min_replicas: i64 = "minReplicas" [Range(1, 2147483647)],
        /// Highest number of pods.
        max_replicas: i64 = "maxReplicas" [Required, Range(1, 2147483647)],
        /// Metrics (MetricSpec). Default: a CPU utilization of 80 %.
        metrics: Vec<Value> = "metrics",
        /// Scaling behavior.
        behavior: Value = "behavior",
        /// Patch of the autoscaler.
        patch: ObjectPatch = "patch",
        /// Name of the autoscaler. Default: derived from the names of the Gateway and the GatewayClass.
        name: String = "name" [Length(1, 63)],
    }

    /// Disruption budget (PodDisruptionBudget).
    pub struct EnvoyDisruptionBudget, rules {
        /// Pods that remain, a number or a percentage.
        min_available: Value = "minAvailable",
        /// Pods that are evicted at a time, a number or a percentage. Default: 1.
        max_unavailable: Value = "maxUnavailable",
        /// Patch of the disruption budget.
        patch: ObjectPatch = "patch",
        /// Name of the disruption budget. Default: derived from the names of the Gateway and the
        /// GatewayClass.
        name: String = "name" [Length(1, 63)],
    }

    /// A patch of an object. Name, namespace, owner, selector and the labels of the controller are kept.
    pub struct ObjectPatch {
        /// Type. Default: `StrategicMerge`.
        kind: PatchKind = "type",
        /// Fields of the object.
        value: Value = "value" [Required],
    }
}

impl EnvoyService {
    fn rules(&self, report: &mut Report) {
        let balanced = matches!(self.kind, None | Some(EnvoyServiceType::LoadBalancer));
        let only = |field: &str| format!("{field} can only be set for LoadBalancer type");
        for (field, is_set) in [
            (
                "allocateLoadBalancerNodePorts",
                self.allocate_load_balancer_node_ports.is_some(),
            ),
            (
                "loadBalancerSourceRanges",
                self.load_balancer_source_ranges.is_some(),
            ),
            ("loadBalancerIP", self.load_balancer_ip.is_some()),
        ] {
            report.rule(balanced || !is_set, &only(field));
        }
    }
}

impl EnvoyDisruptionBudget {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.min_available.is_none() || self.max_unavailable.is_none(),
            "only one of minAvailable or maxUnavailable can be specified",
        );
    }
}
