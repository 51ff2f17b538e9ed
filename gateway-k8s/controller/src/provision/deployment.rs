//! The Deployment or DaemonSet of the data planes of a Gateway, its ServiceAccount and its PodDisruptionBudget.
//!
//! An update loses no request: a new pod is ready before an old pod is stopped (`maxUnavailable` 0). The old
//! pod accepts connections until load balancers have removed it (`preStop`), then drains.
//!
//! Pods conform to the "restricted" Pod Security Standard, have no API token, and write only to memory,
//! because the state for a restart contains private keys. The pod template contains no listener ports, so a
//! new listener restarts no pod.

use serde_json::{Value, json};
use towergate_policy::envoy_proxy::{EnvoyContainer, EnvoyProxySpec, IpFamily};

use super::desired::GatewayToRun;
use super::kind::Kind;
use super::metadata::{Manifest, labels, selector};
use super::options::PlaneOptions;
use super::parameters::{Workload, add_items, add_texts, ip_family, overlay};
use super::patch;

/// Port of the metrics and readiness endpoints.
const HEALTH_PORT: u16 = 19001;
/// Default port of the admin endpoints of `towergate run`. [`PlaneOptions::args`] can set another port.
const ADMIN_PORT: u16 = 19000;
/// TCP ports that a data plane binds for itself. Listeners cannot use them.
pub(crate) const OWN_PORTS: [u16; 2] = [ADMIN_PORT, HEALTH_PORT];
/// Time for a pod to exit after its drain timeout, in seconds.
const LAST_SECONDS: u32 = 10;
/// Name of the container of the data plane.
pub(super) const CONTAINER: &str = "towergate";
/// Variable with the zone of the node; empty if the cluster does not copy the label from the node.
const ZONE_VARIABLE: &str = "TOWERGATE_ZONE";
/// Label of pods that the admission plugin PodTopologyLabels copies from the node (Kubernetes 1.33, KEP-4742).
const ZONE_LABEL: &str = "metadata.labels['topology.kubernetes.io/zone']";
const CREDENTIALS: &str = "/etc/towergate/credentials";
const STATE: &str = "/var/lib/towergate";
/// Names of the volumes. The prefix avoids conflicts with names of users' volumes.
const CREDENTIALS_VOLUME: &str = "towergate-credentials";
const STATE_VOLUME: &str = "towergate-state";

/// Renders the Deployment or DaemonSet of a Gateway. `account` is the name of the ServiceAccount of the pods,
/// `credentials` that of the Secret that they mount, and `options` are the options of the Gateway.
pub(super) fn render(
    gateway: &GatewayToRun,
    account: &str,
    credentials: &str,
    options: &PlaneOptions,
) -> Manifest {
    let workload = Workload::of(gateway.proxy.as_deref());
    let mut metadata = json!({ "labels": labels(gateway) });
    if !gateway.annotations.is_empty() {
        metadata["annotations"] = json!(gateway.annotations);
    }
    if let Some(pod) = workload.pod {
        add_texts(&mut metadata["labels"], pod.labels.as_ref());
        let mut annotations = metadata["annotations"].take();
        add_texts(&mut annotations, pod.annotations.as_ref());
        match annotations.is_null() {
            true => drop(
                metadata
                    .as_object_mut()
                    .map(|all| all.remove("annotations")),
            ),
            false => metadata["annotations"] = annotations,
        }
    }
    let mut spec = json!({
        "revisionHistoryLimit": 3,
        "selector": { "matchLabels": selector(gateway) },
        "template": {
            "metadata": metadata,
            "spec": pod(gateway, account, credentials, options, &workload),
        },
    });
    let strategy = match workload.kind {
        Kind::DaemonSet => "updateStrategy",
        _ => "strategy",
    };
    spec[strategy] = workload.strategy.cloned().unwrap_or_else(|| {
        json!({
            "type": "RollingUpdate",
            "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 },
        })
    });
    if let Some(replicas) = options
        .replicas
        .filter(|_| workload.kind == Kind::Deployment)
    {
        spec["replicas"] = replicas.into();
    }
    let name = workload.name.unwrap_or(account).to_owned();
    let manifest = Manifest::new(workload.kind, gateway, name, json!({ "spec": spec }));
    patch::apply(manifest, workload.patch)
}

/// Renders the ServiceAccount of the pods.
pub(super) fn account(gateway: &GatewayToRun, name: &str) -> Manifest {
    let rest = json!({ "automountServiceAccountToken": false });
    Manifest::new(Kind::ServiceAccount, gateway, name.to_owned(), rest)
}

/// Renders the PodDisruptionBudget: a node drain evicts one pod at a time. The only pod of a Gateway can also
/// be evicted.
pub(super) fn budget(gateway: &GatewayToRun, name: &str) -> Manifest {
    let proxy = gateway.proxy.as_deref();
    let given = proxy.and_then(EnvoyProxySpec::kubernetes);
    let given = given.and_then(|kubernetes| kubernetes.budget.as_ref());
    let mut spec = json!({ "selector": { "matchLabels": selector(gateway) } });
    match given.map(|given| (&given.min_available, &given.max_unavailable)) {
        Some((Some(lowest), _)) => spec["minAvailable"] = lowest.clone(),
        Some((None, Some(highest))) => spec["maxUnavailable"] = highest.clone(),
        Some((None, None)) | None => spec["maxUnavailable"] = 1.into(),
    }
    let name = given
        .and_then(|given| given.name.as_deref())
        .unwrap_or(name);
    let rest = json!({ "spec": spec });
    let manifest = Manifest::new(Kind::PodDisruptionBudget, gateway, name.to_owned(), rest);
    patch::apply(manifest, given.and_then(|given| given.patch.as_ref()))
}

fn pod(
    gateway: &GatewayToRun,
    name: &str,
    credentials: &str,
    options: &PlaneOptions,
    workload: &Workload<'_>,
) -> Value {
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
        "containers": [container(gateway, options, workload.container)],
        "volumes": [
            { "name": CREDENTIALS_VOLUME, "secret": { "secretName": credentials } },
            { "name": STATE_VOLUME, "emptyDir": { "medium": "Memory", "sizeLimit": "256Mi" } },
        ],
    });
    placement(&mut pod, options);
    add_items(&mut pod["volumes"], "name", &options.volumes);
    if let Some(given) = workload.pod {
        overlay(&mut pod["securityContext"], given.security_context.as_ref());
        add_items(
            &mut pod["volumes"],
            "name",
            given.volumes.as_deref().unwrap_or_default(),
        );
        if let Some(spread) = &given.topology_spread_constraints {
            pod["topologySpreadConstraints"] = json!(spread);
        }
    }
    if !workload.init_containers.is_empty() {
        pod["initContainers"] = workload.init_containers.into();
    }
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

fn container(
    gateway: &GatewayToRun,
    options: &PlaneOptions,
    given: Option<&EnvoyContainer>,
) -> Value {
    let family = ip_family(gateway.proxy.as_deref());
    let mut container = json!({
        "name": CONTAINER,
        "image": options.image,
        "args": arguments(options, &family),
        "env": [{
            "name": ZONE_VARIABLE,
            "valueFrom": { "fieldRef": { "fieldPath": ZONE_LABEL } },
        }],
        "ports": [{ "name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP" }],
        "readinessProbe": {
            "httpGet": { "path": "/ready", "port": "health" },
            "periodSeconds": 5,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "httpGet": { "path": "/live", "port": "health" },
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "lifecycle": { "preStop": { "sleep": { "seconds": options.leave_seconds } } },
        "resources": options.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": [
            { "name": CREDENTIALS_VOLUME, "mountPath": CREDENTIALS, "readOnly": true },
            { "name": STATE_VOLUME, "mountPath": STATE },
        ],
    });
    add_items(
        &mut container["volumeMounts"],
        "mountPath",
        &options.volume_mounts,
    );
    if let Some(policy) = &options.image_pull_policy {
        container["imagePullPolicy"] = policy.clone().into();
    }
    if let Some(given) = given {
        let list = |list: &'_ Option<Vec<Value>>| list.clone().unwrap_or_default();
        overlay(
            &mut container["securityContext"],
            given.security_context.as_ref(),
        );
        add_items(
            &mut container["volumeMounts"],
            "mountPath",
            &list(&given.volume_mounts),
        );
        add_items(&mut container["env"], "name", &list(&given.env));
    }
    container
}

/// The arguments of the container. The image sets the program.
fn arguments(options: &PlaneOptions, family: &IpFamily) -> Vec<String> {
    // On Linux, a socket bound to the IPv6 address `::` serves IPv4 and IPv6.
    let any = match family {
        IpFamily::IPv6 | IpFamily::DualStack => "[::]",
        IpFamily::IPv4 | IpFamily::Other(_) => "0.0.0.0",
    };
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
    // `--zone` in the options takes precedence.
    let has_zone = options
        .args
        .iter()
        .any(|argument| argument.starts_with("--zone"));
    let zone = (!has_zone).then(|| format!("--zone=$({ZONE_VARIABLE})"));
    own.chain([
        format!("--health={any}:{HEALTH_PORT}"),
        format!("--drain-timeout={}s", options.drain_seconds),
    ])
    .chain(zone)
    .chain(options.args.iter().cloned())
    .collect()
}
