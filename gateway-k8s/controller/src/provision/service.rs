//! The Service in front of the data planes of a Gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};
use towergate_policy::envoy_proxy::{EnvoyService, IpFamily};

use super::desired::{GatewayToRun, Port};
use super::kind::Kind;
use super::metadata::{Manifest, selector};
use super::options::{ServiceOptions, ServiceType};
use super::parameters::{self, add_texts, ip_family};
use super::patch;

/// First unprivileged port. Lower ports require `CAP_NET_BIND_SERVICE`, which data planes do not have.
const PRIVILEGED: u16 = 1024;
/// Offset that is added to a privileged port to obtain the port to bind, as in Envoy Gateway.
const SHIFT: u16 = 10_000;

/// The port that a data plane binds for a port of its Gateway.
pub(crate) fn bound_port(port: u16) -> u16 {
    if port < PRIVILEGED {
        port + SHIFT
    } else {
        port
    }
}

/// The port that data planes bind, by port of the Gateway. Ports that are bound unchanged have no entry.
pub(crate) fn bound_ports() -> BTreeMap<u16, u16> {
    (1..PRIVILEGED)
        .map(|port| (port, bound_port(port)))
        .collect()
}

/// Renders the Service of a Gateway with its own data planes.
///
/// With type `LoadBalancer`, the first IP address in `spec.addresses` becomes `loadBalancerIP`, which the
/// load balancer may reject. `externalIPs` is never set: it would allow any author of a Gateway to intercept
/// traffic to any address (CVE-2020-8554).
pub(super) fn render(gateway: &GatewayToRun, name: &str, options: &ServiceOptions) -> Manifest {
    let mut spec = json!({
        "type": options.kind.as_str(),
        "selector": selector(gateway),
        "ports": ports(&gateway.ports),
    });
    if options.kind != ServiceType::ClusterIP {
        spec["externalTrafficPolicy"] = options.external_traffic_policy.as_str().into();
    }
    if options.kind == ServiceType::LoadBalancer {
        if let Some(class) = &options.load_balancer_class {
            spec["loadBalancerClass"] = class.clone().into();
        }
        if let Some(address) = gateway.addresses.first() {
            spec["loadBalancerIP"] = address.to_string().into();
        }
    }
    let proxy = gateway.proxy.as_deref();
    families(&mut spec, &gateway.addresses, &ip_family(proxy));
    let given = parameters::service(proxy);
    if let Some(given) = given.filter(|_| options.kind == ServiceType::LoadBalancer) {
        load_balancer(&mut spec, given);
    }
    let name = given
        .and_then(|given| given.name.as_deref())
        .unwrap_or(name);
    let rest = json!({ "spec": spec });
    let mut manifest =
        Manifest::new(Kind::Service, gateway, name.to_owned(), rest).annotate(&options.annotations);
    let Some(given) = given else {
        return manifest;
    };
    add_texts(
        &mut manifest.body["metadata"]["labels"],
        given.labels.as_ref(),
    );
    patch::apply(manifest, given.patch.as_ref())
}

/// Sets the load balancer fields of the Service from an EnvoyProxy. An address in `spec.addresses` of the
/// Gateway takes precedence.
fn load_balancer(spec: &mut Value, given: &EnvoyService) {
    if let Some(address) = &given.load_balancer_ip
        && spec.get("loadBalancerIP").is_none()
    {
        spec["loadBalancerIP"] = address.clone().into();
    }
    if let Some(ranges) = &given.load_balancer_source_ranges {
        spec["loadBalancerSourceRanges"] = json!(ranges);
    }
    if let Some(allocate) = given.allocate_load_balancer_node_ports {
        spec["allocateLoadBalancerNodePorts"] = allocate.into();
    }
}

/// Sets the address families: a Service accepts only connections of its own families. Without a setting in
/// the EnvoyProxy, an IPv6 address of the Gateway requests a dual-stack Service.
fn families(spec: &mut Value, addresses: &[IpAddr], family: &IpFamily) {
    match family {
        IpFamily::IPv6 => {
            spec["ipFamilyPolicy"] = "SingleStack".into();
            spec["ipFamilies"] = json!(["IPv6"]);
        }
        IpFamily::DualStack => {
            spec["ipFamilyPolicy"] = "RequireDualStack".into();
            spec["ipFamilies"] = json!(["IPv4", "IPv6"]);
        }
        IpFamily::IPv4 | IpFamily::Other(_) => {
            if addresses.iter().any(IpAddr::is_ipv6) {
                spec["ipFamilyPolicy"] = "PreferDualStack".into();
            }
        }
    }
}

/// The ports of the Service. If two ports of one transport have the same bound port, the higher port is
/// omitted: the lower port uses the socket, so clients of the higher port would reach the wrong listener.
fn ports(ports: &BTreeSet<Port>) -> Vec<Value> {
    let mut bound = BTreeSet::new();
    let ports = ports.iter();
    ports
        .filter(|port| bound.insert((bound_port(port.number), port.transport)))
        .map(|port| {
            json!({
                "name": port_name(*port),
                "port": port.number,
                "targetPort": bound_port(port.number),
                "protocol": port.transport.as_str(),
            })
        })
        .collect()
}

/// The name of a port. It depends only on transport and number, so it stays the same when listeners change.
pub(super) fn port_name(port: Port) -> String {
    let transport = port.transport.as_str().to_ascii_lowercase();
    format!("{transport}-{}", port.number)
}

#[cfg(test)]
mod tests {
    use super::super::desired::Transport;
    use super::*;

    #[test]
    fn ports_that_take_a_right_are_bound_elsewhere() {
        assert_eq!(
            [80, 443, 1023, 1024, 8080].map(bound_port),
            [10080, 10443, 11023, 1024, 8080]
        );
        assert!(
            bound_ports()
                .iter()
                .all(|(port, bound)| bound_port(*port) == *bound)
        );
        assert_eq!(bound_ports().len(), 1023);
    }

    #[test]
    fn no_two_ports_lead_to_the_same_socket() {
        let port = |number, transport| Port { number, transport };
        let all = [
            port(80, Transport::Tcp),
            port(10080, Transport::Tcp),
            port(10080, Transport::Udp),
        ];

        let rendered = ports(&all.into());

        let names: Vec<_> = rendered.iter().map(|port| port["name"].as_str()).collect();
        assert_eq!(names, [Some("tcp-80"), Some("udp-10080")]);
    }
}
