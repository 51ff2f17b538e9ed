//! The Gateways to run and their ports. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;
use towergate_k8s::api::gateway::{GatewaySpec, Listener};
use towergate_k8s::resolve::gateway_parameters;
use towergate_k8s::status::StatusKey;
use towergate_k8s::{Object, ObjectKey, Objects, Statuses};
use towergate_policy::envoy_proxy::EnvoyProxySpec;

/// A Gateway with all inputs of its provisioned objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayToRun {
    /// Namespace and name.
    pub(crate) key: ObjectKey,
    /// `metadata.uid`, which distinguishes a Gateway from a deleted one of the same name.
    pub(crate) uid: String,
    /// Name of the GatewayClass of the Gateway.
    pub(crate) class: String,
    /// `spec.infrastructure.labels` of the Gateway.
    pub(crate) labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations` of the Gateway.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Ports of accepted listeners, including those of ListenerSets.
    pub(crate) ports: BTreeSet<Port>,
    /// IP addresses in `spec.addresses`.
    pub(crate) addresses: Vec<IpAddr>,
    /// Assigned addresses of the pool, in shared mode. Set by the caller.
    pub(crate) pool: Vec<IpAddr>,
    /// The EnvoyProxy of the Gateway, merged with that of its GatewayClass.
    pub(crate) proxy: Option<Box<EnvoyProxySpec>>,
    /// Action on the objects of the Gateway.
    pub(crate) fate: Fate,
}

/// The action on the objects of a Gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// Create and update the objects.
    Run,
    /// Keep the objects unchanged: the Gateway cannot be run at the moment.
    Keep,
    /// Delete the objects: the Gateway belongs to another controller.
    Remove,
}

/// A port of a Gateway.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Port {
    /// Port number.
    pub(crate) number: u16,
    /// Transport protocol.
    pub(crate) transport: Transport,
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The name in the Kubernetes API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// The Gateways of this controller that have an entry in `statuses`, and the Gateways whose GatewayClass
/// names a controller other than `controller`.
///
/// A Gateway whose GatewayClass is missing is in neither group. Its objects are kept: deleting and recreating
/// a GatewayClass must not change the addresses of Gateways.
pub(crate) fn gateways(
    objects: &Objects,
    statuses: &Statuses,
    controller: &str,
) -> Vec<GatewayToRun> {
    let gateways = objects.gateways.values();
    gateways
        .filter_map(|gateway| {
            let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
            let class = objects.gateway_classes.get(&class)?;
            if class.spec.controller_name != controller {
                return Some(of(gateway, None, BTreeSet::new(), Fate::Remove));
            }
            let status = statuses.0.get(&StatusKey::new("Gateway", gateway.key()))?;
            let ports = ports(objects, statuses, gateway, status);
            let runs = holds(status, "Accepted") && !ports.is_empty();
            let fate = if runs { Fate::Run } else { Fate::Keep };
            let proxy = gateway_parameters(objects, gateway).ok().flatten();
            Some(of(gateway, proxy.as_deref(), ports, fate))
        })
        .collect()
}

fn of(
    gateway: &Object<GatewaySpec>,
    proxy: Option<&EnvoyProxySpec>,
    ports: BTreeSet<Port>,
    fate: Fate,
) -> GatewayToRun {
    let infrastructure = gateway.spec.infrastructure.clone().unwrap_or_default();
    let addresses = gateway.spec.addresses.iter();
    let addresses = addresses.filter_map(|address| address.value.as_deref()?.parse().ok());
    GatewayToRun {
        key: gateway.key(),
        uid: gateway.meta.uid.clone().unwrap_or_default(),
        class: gateway.spec.gateway_class_name.clone(),
        labels: infrastructure.labels,
        annotations: infrastructure.annotations,
        ports,
        addresses: addresses.collect(),
        pool: Vec::new(),
        proxy: proxy.cloned().map(Box::new),
        fate,
    }
}

/// The ports of the accepted listeners of a Gateway and of its ListenerSets.
fn ports(
    objects: &Objects,
    statuses: &Statuses,
    gateway: &Object<GatewaySpec>,
    status: &Value,
) -> BTreeSet<Port> {
    let mut ports = accepted(&gateway.spec.listeners, status);
    for set in objects.listener_sets.values() {
        let parent = &set.spec.parent_ref;
        let namespace = parent.namespace.as_ref().unwrap_or(&set.meta.namespace);
        if parent.name != gateway.meta.name || *namespace != gateway.meta.namespace {
            continue;
        }
        let key = StatusKey::new("ListenerSet", set.key());
        if let Some(status) = statuses
            .0
            .get(&key)
            .filter(|status| holds(status, "Accepted"))
        {
            ports.extend(accepted(&set.spec.listeners, status));
        }
    }
    ports
}

/// The ports of the listeners whose `Accepted` condition is true.
fn accepted(listeners: &[Listener], status: &Value) -> BTreeSet<Port> {
    let told = status["listeners"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let is_accepted = |listener: &&Listener| {
        let own = told.iter().find(|told| told["name"] == *listener.name);
        own.is_some_and(|own| holds(own, "Accepted"))
    };
    let listeners = listeners.iter().filter(is_accepted);
    listeners
        .filter_map(|listener| {
            let transport = match &*listener.protocol {
                "UDP" => Transport::Udp,
                _ => Transport::Tcp,
            };
            let number = u16::try_from(listener.port).ok().filter(|port| *port > 0)?;
            Some(Port { number, transport })
        })
        .collect()
}

/// Whether the condition of type `kind` is true.
fn holds(status: &Value, kind: &str) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one["type"] == kind && one["status"] == "True")
    })
}

#[cfg(test)]
mod tests {
    use towergate_k8s::decode::decode;
    use towergate_k8s::{ResolveOptions, resolve};

    use super::*;

    const CONTROLLER: &str = "towergate.dev/gateway-controller";

    /// The result of [`gateways`] for these manifests, with GatewayClasses `ours` and `theirs`.
    fn found(manifests: &str) -> Vec<GatewayToRun> {
        let class = |name: &str, controller: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
                 metadata: {{name: {name}}}\nspec: {{controllerName: {controller}}}\n---\n"
            )
        };
        let text = class("ours", CONTROLLER) + &class("theirs", "example.com/other") + manifests;
        let decoded = decode("in.yaml", &text);
        assert!(decoded.diagnostics.is_empty(), "{:?}", decoded.diagnostics);
        let scope = ResolveOptions {
            controller_name: CONTROLLER.to_owned(),
            serve_unclassed: false,
            ..ResolveOptions::default()
        };
        let statuses = resolve(&decoded.objects, &scope).statuses;
        gateways(&decoded.objects, &statuses, CONTROLLER)
    }

    fn gateway(class: &str, rest: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
             metadata: {{name: shared, namespace: edge, uid: u}}\n\
             spec:\n  gatewayClassName: {class}\n{rest}\n"
        )
    }

    fn numbers(gateway: &GatewayToRun) -> Vec<(u16, Transport)> {
        gateway
            .ports
            .iter()
            .map(|port| (port.number, port.transport))
            .collect()
    }

    #[test]
    fn ports_are_those_of_accepted_listeners_each_once() {
        let listeners = "  listeners:
  - {name: a, port: 443, protocol: HTTPS, hostname: a.test, tls: {certificateRefs: [{name: none}]}}
  - {name: b, port: 443, protocol: HTTPS, hostname: b.test, tls: {certificateRefs: [{name: none}]}}
  - {name: dns, port: 53, protocol: UDP}
  - {name: odd, port: 99, protocol: ODD}";

        let found = found(&gateway("ours", listeners));

        assert_eq!(
            numbers(&found[0]),
            [(53, Transport::Udp), (443, Transport::Tcp)]
        );
        assert_eq!((found[0].fate, &*found[0].uid), (Fate::Run, "u"));
    }

    #[test]
    fn listeners_of_a_listener_set_count_where_the_gateway_lets_them() {
        let set = "---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: edge}
spec:
  parentRef: {name: shared}
  listeners: [{name: more, port: 8080, protocol: HTTP}]
";
        let own = "  listeners: [{name: http, port: 80, protocol: HTTP}]";
        let open = format!("{own}\n  allowedListeners: {{namespaces: {{from: Same}}}}");

        let with = found(&(gateway("ours", &open) + set));
        let without = found(&(gateway("ours", own) + set));

        assert_eq!(
            numbers(&with[0]),
            [(80, Transport::Tcp), (8080, Transport::Tcp)]
        );
        assert_eq!(numbers(&without[0]), [(80, Transport::Tcp)]);
    }

    #[test]
    fn a_gateway_that_cannot_be_run_keeps_what_it_has() {
        let odd = "  addresses: [{type: example.com/odd, value: a}]";
        let http = "  listeners: [{name: http, port: 80, protocol: HTTP}]";
        let none = "  listeners: [{name: odd, port: 99, protocol: ODD}]";

        assert_eq!(found(&gateway("ours", http))[0].fate, Fate::Run);
        assert_eq!(
            found(&gateway("ours", &format!("{odd}\n{http}")))[0].fate,
            Fate::Keep
        );
        assert_eq!(found(&gateway("ours", none))[0].fate, Fate::Keep);
    }

    #[test]
    fn a_gateway_of_another_controller_is_let_go_and_one_without_a_class_left_alone() {
        let http = "  listeners: [{name: http, port: 80, protocol: HTTP}]";

        assert_eq!(found(&gateway("theirs", http))[0].fate, Fate::Remove);
        assert!(found(&gateway("missing", http)).is_empty());
    }

    #[test]
    fn infrastructure_and_addresses_are_taken_over() {
        let rest = "  listeners: [{name: http, port: 80, protocol: HTTP}]
  addresses: [{value: 192.0.2.1}]
  infrastructure: {labels: {team: edge}, annotations: {example.com/a: b}}";

        let found = found(&gateway("ours", rest));

        assert_eq!(found[0].labels["team"], "edge");
        assert_eq!(found[0].annotations["example.com/a"], "b");
        assert_eq!(found[0].addresses, [IpAddr::from([192, 0, 2, 1])]);
    }
}
