//! The Service of a Gateway that the shared data plane serves. It gives the Gateway a DNS name in the
//! cluster.

use std::net::IpAddr;

use serde_json::json;

use super::desired::GatewayToRun;
use super::kind::Kind;
use super::metadata::{MANAGED_BY, Manifest};
use super::service::port_name;

/// Renders a Service without a selector, and an EndpointSlice for each address family with an address.
pub(super) fn render(gateway: &GatewayToRun, name: &str) -> Vec<Manifest> {
    let ports = gateway.ports.iter().map(|port| {
        json!({
            "name": port_name(*port),
            "port": port.number,
            "targetPort": port.number,
            "protocol": port.transport.as_str(),
        })
    });
    let spec = json!({ "type": "ClusterIP", "ports": ports.collect::<Vec<_>>() });
    let service = Manifest::new(
        Kind::Service,
        gateway,
        name.to_owned(),
        json!({ "spec": spec }),
    );
    let families = [("IPv4", false), ("IPv6", true)];
    let slices = families
        .into_iter()
        .filter_map(|(family, six)| slice(gateway, name, family, six));
    std::iter::once(service).chain(slices).collect()
}

/// Renders the EndpointSlice of an address family. `None`: the family has no valid endpoint address.
fn slice(gateway: &GatewayToRun, name: &str, family: &str, six: bool) -> Option<Manifest> {
    let addresses = gateway.pool.iter();
    let addresses =
        addresses.filter(|address| address.is_ipv6() == six && may_be_endpoint(**address));
    let endpoints: Vec<_> = addresses
        .map(|address| json!({ "addresses": [address.to_string()], "conditions": { "ready": true } }))
        .collect();
    if endpoints.is_empty() {
        return None;
    }
    let ports = gateway.ports.iter().map(|port| {
        json!({
            "name": port_name(*port),
            "port": port.number,
            "protocol": port.transport.as_str(),
        })
    });
    let rest = json!({
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports.collect::<Vec<_>>(),
    });
    let own = format!("{name}-{}", family.to_ascii_lowercase());
    let slice = Manifest::new(Kind::EndpointSlice, gateway, own, rest)
        .label("kubernetes.io/service-name", name)
        .label("endpointslice.kubernetes.io/managed-by", MANAGED_BY.1);
    Some(slice)
}

/// Whether the API server accepts the address in an EndpointSlice.
fn may_be_endpoint(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !link_local && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}
