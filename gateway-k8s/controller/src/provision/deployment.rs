//! The Deployment of the data planes of a Gateway, its ServiceAccount and its PodDisruptionBudget.
//!
//! An update loses no request: a new pod is ready before an old pod is stopped (`maxUnavailable` 0). The old
//! pod accepts connections until load balancers have removed it (`preStop`), then drains.
//!
//! Pods conform to the "restricted" Pod Security Standard, have no API token, and write only to memory,
//! because the state for a restart contains private keys. The pod template contains no listener ports, so a
//! new listener restarts no pod.

use serde_json::{Value, json};

use super::desired::GatewayToRun;
use super::kind::Kind;
use super::metadata::{Manifest, labels, selector};
use super::options::PlaneOptions;

/// Port of the metrics and readiness endpoints.
const HEALTH_PORT: u16 = 19001;
/// Port of the admin endpoints of `towergate run`, unless [`PlaneOptions::args`] changes it.
const ADMIN_PORT: u16 = 19000;
/// TCP ports that a data plane binds for itself. Listeners cannot use them.
pub(crate) const OWN_PORTS: [u16; 2] = [ADMIN_PORT, HEALTH_PORT];
/// Time for a pod to exit after its drain timeout, in seconds.
const LAST_SECONDS: u32 = 10;
const CREDENTIALS: &str = "/etc/towergate/credentials";
const STATE: &str = "/var/lib/towergate";

/// Renders the Deployment. `credentials` is the name of the Secret that its pods mount.
pub(super) fn render(
    gateway: &GatewayToRun,
    name: &str,
    credentials: &str,
    options: &PlaneOptions,
) -> Manifest {
    let mut metadata = json!({ "labels": labels(gateway) });
    if !gateway.annotations.is_empty() {
        metadata["annotations"] = json!(gateway.annotations);
    }
    let mut spec = json!({
        "revisionHistoryLimit": 3,
        "selector": { "matchLabels": selector(gateway) },
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 },
        },
        "template": {
            "metadata": metadata,
            "spec": pod(gateway, name, credentials, options),
        },
    });
    if let Some(replicas) = options.replicas {
        spec["replicas"] = replicas.into();
    }
    Manifest::new(
        Kind::Deployment,
        gateway,
        name.to_owned(),
        json!({ "spec": spec }),
    )
}

/// Renders the ServiceAccount of the pods.
pub(super) fn account(gateway: &GatewayToRun, name: &str) -> Manifest {
    let rest = json!({ "automountServiceAccountToken": false });
    Manifest::new(Kind::ServiceAccount, gateway, name.to_owned(), rest)
}

/// Renders the PodDisruptionBudget: a node drain evicts one pod at a time. A single pod can be evicted.
pub(super) fn budget(gateway: &GatewayToRun, name: &str) -> Manifest {
    let rest = json!({ "spec": {
        "maxUnavailable": 1,
        "selector": { "matchLabels": selector(gateway) },
    } });
    Manifest::new(Kind::PodDisruptionBudget, gateway, name.to_owned(), rest)
}

fn pod(gateway: &GatewayToRun, name: &str, credentials: &str, options: &PlaneOptions) -> Value {
    let grace = options.leave_seconds + options.drain_seconds + LAST_SECONDS;
    let mut pod = json!({
        "serviceAccountName": name,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": grace,
        "securityContext": {
            "runAsNonRoot": true,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selector(gateway) },
        }],
        "containers": [container(options)],
        "volumes": [
            { "name": "credentials", "secret": { "secretName": credentials } },
            { "name": "state", "emptyDir": { "medium": "Memory", "sizeLimit": "256Mi" } },
        ],
    });
    placement(&mut pod, options);
    pod
}

/// Sets the scheduling and image pull settings of pods.
fn placement(pod: &mut Value, options: &PlaneOptions) {
    if !options.image_pull_secrets.is_empty() {
        let secrets = options.image_pull_secrets.iter();
        let secrets = secrets.map(|name| json!({ "name": name }));
        pod["imagePullSecrets"] = secrets.collect();
    }
    if !options.node_selector.is_empty() {
        pod["nodeSelector"] = json!(options.node_selector);
    }
    if !options.tolerations.is_empty() {
        pod["tolerations"] = json!(options.tolerations);
    }
    if let Some(affinity) = &options.affinity {
        pod["affinity"] = affinity.clone();
    }
    if let Some(class) = &options.priority_class_name {
        pod["priorityClassName"] = class.clone().into();
    }
}

fn container(options: &PlaneOptions) -> Value {
    let mut container = json!({
        "name": "towergate",
        "image": options.image,
        "args": arguments(options),
        "ports": [{ "name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP" }],
        "readinessProbe": {
            "httpGet": { "path": "/ready", "port": "health" },
            "periodSeconds": 5,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "lifecycle": { "preStop": { "sleep": { "seconds": options.leave_seconds } } },
        "resources": options.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": [
            { "name": "credentials", "mountPath": CREDENTIALS, "readOnly": true },
            { "name": "state", "mountPath": STATE },
        ],
    });
    if let Some(policy) = &options.image_pull_policy {
        container["imagePullPolicy"] = policy.clone().into();
    }
    container
}

/// The arguments of the container. The image sets the program.
fn arguments(options: &PlaneOptions) -> Vec<String> {
    let own = [
        "run",
        "--from",
        &options.from,
        "--credentials",
        CREDENTIALS,
        "--state",
        STATE,
    ];
    let own = own.map(str::to_owned).into_iter();
    own.chain([
        format!("--health=0.0.0.0:{HEALTH_PORT}"),
        format!("--drain-timeout={}s", options.drain_seconds),
    ])
    .chain(options.args.iter().cloned())
    .collect()
}
