//! Applies an EnvoyProxy to the options of data planes. Pure functions.
//!
//! ```text
//! PlaneOptions (of all Gateways) + EnvoyProxy (of one) ──effective──> PlaneOptions ──render──> objects
//!                                                       └─Workload──> pod and container fields of Kubernetes
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use towergate_policy::envoy_proxy::{
    EnvoyContainer, EnvoyPod, EnvoyProxySpec, EnvoyService, EnvoyServiceType, IpFamily,
    ObjectPatch, ProcessSettings, TrafficPolicy as EnvoyTrafficPolicy,
};

use super::kind::Kind;
use super::options::{PlaneOptions, ServiceOptions, ServiceType, TrafficPolicy};

/// The pods of a Gateway as its EnvoyProxy describes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload<'a> {
    /// `Deployment` or `DaemonSet`.
    pub(super) kind: Kind,
    /// Name of the object; `None`: the default name.
    pub(super) name: Option<&'a str>,
    /// Patch of the object.
    pub(super) patch: Option<&'a ObjectPatch>,
    /// Update strategy.
    pub(super) strategy: Option<&'a Value>,
    /// Fields of pods.
    pub(super) pod: Option<&'a EnvoyPod>,
    /// Fields of the container.
    pub(super) container: Option<&'a EnvoyContainer>,
    /// Init containers.
    pub(super) init_containers: &'a [Value],
}

impl<'a> Workload<'a> {
    /// The workload of an EnvoyProxy. Default: a Deployment.
    pub(super) fn of(proxy: Option<&'a EnvoyProxySpec>) -> Self {
        let kubernetes = proxy.and_then(EnvoyProxySpec::kubernetes);
        if let Some(set) = kubernetes.and_then(|found| found.daemon_set.as_ref()) {
            return Self {
                kind: Kind::DaemonSet,
                name: set.name.as_deref(),
                patch: set.patch.as_ref(),
                strategy: set.strategy.as_ref(),
                pod: set.pod.as_ref(),
                container: set.container.as_ref(),
                init_containers: set.init_containers.as_deref().unwrap_or_default(),
            };
        }
        let deployment = kubernetes.and_then(|found| found.deployment.as_ref());
        Self {
            kind: Kind::Deployment,
            name: deployment.and_then(|found| found.name.as_deref()),
            patch: deployment.and_then(|found| found.patch.as_ref()),
            strategy: deployment.and_then(|found| found.strategy.as_ref()),
            pod: deployment.and_then(|found| found.pod.as_ref()),
            container: deployment.and_then(|found| found.container.as_ref()),
            init_containers: deployment
                .and_then(|found| found.init_containers.as_deref())
                .unwrap_or_default(),
        }
    }
}

/// The Service section of an EnvoyProxy.
pub(super) fn service(proxy: Option<&EnvoyProxySpec>) -> Option<&EnvoyService> {
    proxy?.kubernetes()?.service.as_ref()
}

/// The address families of an EnvoyProxy.
pub(super) fn ip_family(proxy: Option<&EnvoyProxySpec>) -> IpFamily {
    let family = proxy.and_then(|proxy| proxy.ip_family.clone());
    family.unwrap_or(IpFamily::IPv4)
}

/// The options of one Gateway: those of its EnvoyProxy, else those of all Gateways.
pub(super) fn effective(options: &PlaneOptions, proxy: Option<&EnvoyProxySpec>) -> PlaneOptions {
    let mut options = options.clone();
    let Some(proxy) = proxy else {
        return options;
    };
    process(&mut options, &ProcessSettings::of(proxy));
    let workload = Workload::of(Some(proxy));
    let kubernetes = proxy.kubernetes();
    let replicas = kubernetes
        .and_then(|found| found.deployment.as_ref())
        .and_then(|deployment| deployment.replicas)
        .and_then(|replicas| u32::try_from(replicas).ok());
    options.replicas = replicas.or(options.replicas);
    // The autoscaler sets the number of pods.
    if kubernetes.is_some_and(|found| found.hpa.is_some()) {
        options.replicas = None;
    }
    if let Some(resources) = workload.container.and_then(|found| found.resources.clone()) {
        options.resources = resources;
    }
    if let Some(pod) = workload.pod {
        schedule(&mut options, pod);
    }
    if let Some(service) = service(Some(proxy)) {
        balance(&mut options.service, service);
    }
    options
}

/// Applies the settings of the process.
fn process(options: &mut PlaneOptions, settings: &ProcessSettings) {
    let seconds = |time: Duration| {
        let up = u64::from(time.subsec_nanos() > 0);
        u32::try_from(time.as_secs() + up).unwrap_or(u32::MAX / 4)
    };
    options.drain_seconds = settings
        .drain_timeout
        .map_or(options.drain_seconds, seconds);
    options.leave_seconds = settings.leave.map_or(options.leave_seconds, seconds);
    if let Some(workers) = settings.workers {
        set_flag(&mut options.args, "--workers", &workers.to_string());
    }
    if let Some(level) = &settings.log {
        set_flag(&mut options.args, "--log", level);
    }
    if let Some(log) = &settings.access_log {
        set_flag(&mut options.args, "--access-log", &literal(&log.path));
        if let Some(format) = &log.format {
            set_flag(&mut options.args, "--access-log-format", &literal(format));
        }
        for condition in &log.conditions {
            let condition = literal(condition.text());
            options.args.push(format!("--access-log-match={condition}"));
        }
    }
    if settings.access_log_off {
        set_flag(&mut options.args, "--access-log", "off");
    }
}

/// Escapes a string for the arguments of a container, in which Kubernetes replaces `$(NAME)`.
fn literal(text: &str) -> String {
    text.replace("$(", "$$(")
}

/// Sets a flag in `args` and removes earlier occurrences of the flag.
fn set_flag(args: &mut Vec<String>, flag: &str, value: &str) {
    let with_value = format!("{flag}=");
    let mut kept = Vec::with_capacity(args.len() + 1);
    let mut given = std::mem::take(args).into_iter();
    while let Some(arg) = given.next() {
        if arg == flag {
            given.next();
        } else if !arg.starts_with(&with_value) {
            kept.push(arg);
        }
    }
    kept.push(format!("{with_value}{value}"));
    *args = kept;
}

/// Applies the scheduling and image pull settings of pods.
fn schedule(options: &mut PlaneOptions, pod: &EnvoyPod) {
    if let Some(selector) = &pod.node_selector {
        options.node_selector.clone_from(selector);
    }
    if let Some(tolerations) = &pod.tolerations {
        options.tolerations.clone_from(tolerations);
    }
    if pod.affinity.is_some() {
        options.affinity.clone_from(&pod.affinity);
    }
    if pod.priority_class_name.is_some() {
        options
            .priority_class_name
            .clone_from(&pod.priority_class_name);
    }
    if let Some(secrets) = &pod.image_pull_secrets {
        let names = secrets.iter().filter_map(|secret| secret["name"].as_str());
        let names = names.map(str::to_owned);
        options.image_pull_secrets.extend(names);
        options.image_pull_secrets.sort();
        options.image_pull_secrets.dedup();
    }
}

/// Applies the settings of a Service that also exist as options for all Gateways.
fn balance(options: &mut ServiceOptions, service: &EnvoyService) {
    match service.kind {
        Some(EnvoyServiceType::ClusterIp) => options.kind = ServiceType::ClusterIP,
        Some(EnvoyServiceType::NodePort) => options.kind = ServiceType::NodePort,
        Some(EnvoyServiceType::LoadBalancer) => options.kind = ServiceType::LoadBalancer,
        Some(EnvoyServiceType::Other(_)) | None => {}
    }
    if service.load_balancer_class.is_some() {
        options
            .load_balancer_class
            .clone_from(&service.load_balancer_class);
    }
    match service.external_traffic_policy {
        Some(EnvoyTrafficPolicy::Cluster) => {
            options.external_traffic_policy = TrafficPolicy::Cluster;
        }
        Some(EnvoyTrafficPolicy::Local) => options.external_traffic_policy = TrafficPolicy::Local,
        Some(EnvoyTrafficPolicy::Other(_)) | None => {}
    }
    if let Some(annotations) = &service.annotations {
        let annotations = annotations.clone();
        options.annotations.extend(annotations);
    }
}

/// Adds strings to an object that may be missing. Existing keys are kept.
pub(super) fn add_texts(object: &mut Value, texts: Option<&BTreeMap<String, String>>) {
    let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
        return;
    };
    if object.is_null() {
        *object = Value::Object(Map::new());
    }
    if let Value::Object(object) = object {
        for (key, value) in texts {
            object
                .entry(key.as_str())
                .or_insert_with(|| value.clone().into());
        }
    }
}

/// Adds items to a list whose items the API server identifies by the field `key`. An item replaces an
/// existing item with the same key, because the API server rejects duplicates.
pub(super) fn add_items(list: &mut Value, key: &str, items: &[Value]) {
    let Value::Array(list) = list else {
        return;
    };
    for item in items {
        let held = list
            .iter_mut()
            .find(|held| !held[key].is_null() && held[key] == item[key]);
        match held {
            Some(held) => held.clone_from(item),
            None => list.push(item.clone()),
        }
    }
}

/// Sets the fields of `given` in an object; other fields keep their value.
pub(super) fn overlay(object: &mut Value, given: Option<&Value>) {
    if let (Value::Object(object), Some(Value::Object(given))) = (object, given) {
        object.extend(given.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_a_gateway_replaces_that_of_all_gateways() {
        let mut args = ["--log=info", "--workers", "2", "--quiet"]
            .map(str::to_owned)
            .to_vec();

        set_flag(&mut args, "--workers", "4");
        set_flag(&mut args, "--log", "debug");

        assert_eq!(args, ["--quiet", "--workers=4", "--log=debug"]);
    }
}
