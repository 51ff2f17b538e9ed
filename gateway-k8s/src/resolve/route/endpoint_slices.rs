//! Endpoints of a port of a Service, from its EndpointSlices.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use towergate_core::plan::{BackendId, BackendKind, Endpoint};

use super::super::object_index::ObjectIndex;
use super::service_port::{Transport, transport_of};
use crate::api::core::{EndpointConditions, EndpointSlice, ServicePort};
use crate::objects::ObjectKey;

/// The endpoints of a port of a Service: those that the user configures, or else those of its EndpointSlices.
pub(super) fn endpoints_of(
    index: &ObjectIndex<'_>,
    id: &BackendId,
    service: &ObjectKey,
    port: &ServicePort,
) -> Vec<Endpoint> {
    let id = BackendId {
        kind: BackendKind::Service,
        ..id.clone()
    };
    let Some(configured) = index.options.endpoints.get(&id) else {
        return endpoints(index.slices(service), port);
    };
    let mut found = configured.clone();
    found.sort();
    found.dedup();
    found
}

/// The endpoints of a port of a Service, by port name: the ready endpoints, or, if none is ready, the
/// terminating endpoints that still serve.
fn endpoints(slices: &[&EndpointSlice], port: &ServicePort) -> Vec<Endpoint> {
    let mut by_state: BTreeMap<bool, Vec<Endpoint>> = BTreeMap::new();
    for slice in slices {
        let numbers = slice.ports.iter().filter(|candidate| {
            candidate.name.as_deref().unwrap_or_default()
                == port.name.as_deref().unwrap_or_default()
                && Transport::parse(candidate.protocol.as_deref()) == transport_of(port)
        });
        for number in numbers.filter_map(|candidate| candidate.port) {
            for endpoint in &slice.endpoints {
                let Some(ready) = ready(&endpoint.conditions) else {
                    continue;
                };
                let zone = endpoint.zone.as_deref().map(Arc::<str>::from);
                let addresses = endpoint.addresses.iter();
                let addresses = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
                by_state
                    .entry(ready)
                    .or_default()
                    .extend(addresses.map(|address| Endpoint {
                        address: SocketAddr::new(address, number).into(),
                        weight: 1,
                        zone: zone.clone(),
                    }));
            }
        }
    }
    let mut found = by_state
        .remove(&true)
        .or_else(|| by_state.remove(&false))
        .unwrap_or_default();
    found.sort();
    found.dedup();
    found
}

/// `Some(true)`: ready; `Some(false)`: terminating but serving; `None`: neither.
fn ready(conditions: &EndpointConditions) -> Option<bool> {
    let ready = conditions.ready.unwrap_or(true);
    let terminating = conditions.terminating.unwrap_or(false);
    let serving = conditions.serving.unwrap_or(ready);
    match (ready && serving && !terminating, serving && terminating) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn addresses(slices: serde_json::Value, port: serde_json::Value) -> Vec<String> {
        let slices: Vec<EndpointSlice> = serde_json::from_value(slices).unwrap();
        let port: ServicePort = serde_json::from_value(port).unwrap();
        let slices: Vec<_> = slices.iter().collect();
        let found = endpoints(&slices, &port);
        found
            .iter()
            .map(|endpoint| endpoint.address.to_string())
            .collect()
    }

    #[test]
    fn slices_are_merged_by_the_name_of_the_port() {
        let slices = json!([
            {
                "ports": [{ "name": "http", "port": 8080 }, { "name": "admin", "port": 9090 }],
                "endpoints": [{ "addresses": ["192.0.2.2", "192.0.2.1"] }],
            },
            {
                "ports": [{ "name": "http", "port": 8081, "protocol": "TCP" }],
                "endpoints": [{ "addresses": ["2001:db8::1", "192.0.2.1"] }],
            },
            {
                "ports": [{ "name": "http", "port": 8080, "protocol": "UDP" }],
                "endpoints": [{ "addresses": ["192.0.2.9"] }],
            },
        ]);

        assert_eq!(
            addresses(slices.clone(), json!({ "name": "http", "port": 80 })),
            [
                "192.0.2.1:8080",
                "192.0.2.1:8081",
                "192.0.2.2:8080",
                "[2001:db8::1]:8081"
            ]
        );
        let datagrams = json!({ "name": "http", "port": 80, "protocol": "UDP" });
        assert_eq!(addresses(slices.clone(), datagrams), ["192.0.2.9:8080"]);
        assert!(addresses(slices, json!({ "port": 80 })).is_empty());
    }

    #[test]
    fn terminating_endpoints_serve_only_if_none_is_ready() {
        let ready = json!({ "addresses": ["192.0.2.1"], "conditions": { "ready": true } });
        let stopping = json!({
            "addresses": ["192.0.2.2"],
            "conditions": { "ready": false, "serving": true, "terminating": true },
        });
        let broken = json!({ "addresses": ["192.0.2.3"], "conditions": { "ready": false } });
        let with = |endpoints: serde_json::Value| {
            let slice = json!([{ "ports": [{ "port": 80 }], "endpoints": endpoints }]);
            addresses(slice, json!({ "port": 80 }))
        };

        assert_eq!(with(json!([ready, stopping, broken])), ["192.0.2.1:80"]);
        assert_eq!(with(json!([stopping, broken])), ["192.0.2.2:80"]);
        assert!(with(json!([broken])).is_empty());
    }
}
