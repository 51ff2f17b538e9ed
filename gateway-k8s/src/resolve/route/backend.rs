//! Backends: from a backendRef to a Service's port, its endpoints, and how to speak to them.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use towergate_core::plan::{Backend, BackendId, BackendProtocol, Endpoint, Endpoints};
use towergate_tls::client::ClientTls;

use super::super::grant::{From, To};
use super::super::policy::backend_tls::BackendTls;
use super::super::world::World;
use super::RouteRef;
use crate::api::core::{EndpointConditions, EndpointSlice, ServicePort};
use crate::api::gateway::GatewaySpec;
use crate::api::reference::{BackendObjectReference, ParentReference};
use crate::api::{ENVOY_GROUP, GATEWAY_GROUP};
use crate::objects::{Object, ObjectKey};

/// Backends that rules name, each resolved once.
#[derive(Debug)]
pub(crate) struct Backends<'a> {
    /// Addresses of the backends that were named.
    pub(crate) endpoints: Endpoints,
    /// Those that were named, each once.
    known: HashSet<Arc<Backend>>,
    /// TLS towards backends.
    pub(crate) tls: BackendTls<'a>,
    /// The Gateways that take the route whose rules are being resolved.
    gateways: Vec<ParentReference>,
}

/// A backend that can be named.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) backend: Arc<Backend>,
    /// It has endpoints that take requests.
    pub(super) available: bool,
}

/// Why a backendRef leads to nothing.
#[derive(Debug)]
pub(crate) struct BackendFault {
    /// The word of the API.
    pub(super) reason: &'static str,
    /// A sentence, without a full stop.
    pub(super) message: String,
}

fn fault<T>(reason: &'static str, message: String) -> Result<T, BackendFault> {
    Err(BackendFault { reason, message })
}

impl<'a> Backends<'a> {
    /// No backends yet.
    pub(crate) fn new(world: &World<'a>) -> Self {
        Self {
            endpoints: Endpoints::new(),
            known: HashSet::new(),
            tls: BackendTls::new(world),
            gateways: Vec::new(),
        }
    }

    /// The rules of another route come next, which these Gateways take.
    pub(super) fn reached_through<'g>(
        &mut self,
        gateways: impl Iterator<Item = &'g Object<GatewaySpec>>,
    ) {
        self.gateways.clear();
        for gateway in gateways {
            let ancestor = ParentReference {
                group: Some(GATEWAY_GROUP.to_owned()),
                kind: Some("Gateway".to_owned()),
                namespace: Some(gateway.meta.namespace.clone()),
                name: gateway.meta.name.clone(),
                section_name: None,
                port: None,
            };
            if !self.gateways.contains(&ancestor) {
                self.gateways.push(ancestor);
            }
        }
    }

    /// The backend that a rule of `route` names.
    pub(super) fn resolve(
        &mut self,
        world: &World<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
    ) -> Result<Found, BackendFault> {
        let (key, port) = find(world, route, written)?;
        // There is no TLS over datagrams.
        let tls = match route {
            RouteRef::Udp(_) => None,
            _ => self.client_tls(world, route, &key, port)?,
        };
        Ok(self.found(world, route, (key, port), tls))
    }

    /// The backend that a rule of `route` names, for connections that are the client's TLS already.
    pub(super) fn resolve_passed(
        &mut self,
        world: &World<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
    ) -> Result<Found, BackendFault> {
        let named = find(world, route, written)?;
        Ok(self.found(world, route, named, None))
    }

    /// How a port of a Service is spoken to over TLS; `None`: plain.
    fn client_tls(
        &mut self,
        world: &World<'_>,
        route: RouteRef<'_>,
        service: &ObjectKey,
        port: &ServicePort,
    ) -> Result<Option<Arc<ClientTls>>, BackendFault> {
        let name = port.name.as_deref().unwrap_or_default();
        let tls = match self.tls.find(world, service, name, &self.gateways) {
            Ok(tls) => tls.map(|tls| tls.client(protocol(route, port))),
            Err(message) => return fault("InvalidBackendTLS", message),
        };
        Ok(tls.map(|mut tls| {
            // Nobody knows what connections carry.
            if route.carries_streams() {
                tls.alpn.clear();
            }
            Arc::new(tls)
        }))
    }

    fn found(
        &mut self,
        world: &World<'_>,
        route: RouteRef<'_>,
        (key, port): (ObjectKey, &ServicePort),
        tls: Option<Arc<ClientTls>>,
    ) -> Found {
        let id = BackendId {
            // A port of TCP and one of UDP may have the same number.
            kind: match route.transport() {
                "UDP" => "Service/UDP".to_owned(),
                _ => "Service".to_owned(),
            },
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: port.port,
        };
        let available = self.fill(world, &id, &key, port);
        let protocol = protocol(route, port);
        Found {
            backend: self.once(Backend { id, protocol, tls }),
            available,
        }
    }

    /// The one instance of a backend, which all rules that name it share.
    fn once(&mut self, backend: Backend) -> Arc<Backend> {
        if let Some(known) = self.known.get(&backend) {
            return known.clone();
        }
        let backend = Arc::new(backend);
        self.known.insert(backend.clone());
        backend
    }

    /// Notes the endpoints; whether there are any.
    fn fill(
        &mut self,
        world: &World<'_>,
        id: &BackendId,
        service: &ObjectKey,
        port: &ServicePort,
    ) -> bool {
        if !self.endpoints.contains_key(id) {
            let slices = world.slices(service);
            let mut found = endpoints(slices, port);
            if slices.is_empty() {
                let id = BackendId {
                    kind: "Service".to_owned(),
                    ..id.clone()
                };
                found = world.scope.endpoints.get(&id).cloned().unwrap_or_default();
                found.sort();
                found.dedup();
            }
            self.endpoints.insert(id.clone(), found);
        }
        !self.endpoints[id].is_empty()
    }
}

/// The Service and its port that a rule of `route` names.
fn find<'w>(
    world: &World<'w>,
    route: RouteRef<'_>,
    written: &BackendObjectReference,
) -> Result<(ObjectKey, &'w ServicePort), BackendFault> {
    check_kind(written)?;
    let own = route.meta().namespace.as_str();
    let namespace = written
        .namespace
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(own);
    let key = ObjectKey::new(namespace, &*written.name);
    let from = From {
        group: GATEWAY_GROUP,
        kind: route.kind(),
        namespace: own,
    };
    let to = To {
        group: "",
        kind: "Service",
        namespace,
        name: &written.name,
    };
    if !world.grants.permit(from, to) {
        let message = format!("no ReferenceGrant permits the reference to Service {key}");
        return fault("RefNotPermitted", message);
    }
    let Some(number) = written.port else {
        return fault(
            "PortNotSpecified",
            format!("the reference to Service {key} has no port"),
        );
    };
    let port = service_port(world, &key, number, route.transport())?;
    Ok((key, port))
}

/// Only Services are backends.
fn check_kind(written: &BackendObjectReference) -> Result<(), BackendFault> {
    let group = written.group.as_deref().unwrap_or_default();
    let kind = written.kind.as_deref().unwrap_or("Service");
    match (group, kind) {
        ("", "Service") => Ok(()),
        // As Envoy Gateway says it while its Backends are switched off.
        (ENVOY_GROUP, "Backend") => {
            let message = format!("Backend {} is not supported, Services are", written.name);
            fault("UnsupportedValue", message)
        }
        _ => {
            let message = format!("{kind} of group {group:?} is no backend: Services are");
            fault("InvalidKind", message)
        }
    }
}

fn service_port<'w>(
    world: &World<'w>,
    key: &ObjectKey,
    number: i32,
    transport: &str,
) -> Result<&'w ServicePort, BackendFault> {
    let Some(service) = world.objects.services.get(key) else {
        return fault("BackendNotFound", format!("there is no Service {key}"));
    };
    if service.spec.kind.as_deref() == Some("ExternalName") {
        let message = format!("Service {key} is an ExternalName, which has no endpoints");
        return fault("UnsupportedValue", message);
    }
    let mut ports = service.spec.ports.iter();
    let port = ports.find(|port| i32::from(port.port) == number && transport_of(port) == transport);
    match port {
        Some(port) => Ok(port),
        None => fault(
            "PortNotFound",
            format!("Service {key} has no {transport} port {number}"),
        ),
    }
}

/// `TCP`, `UDP` or `SCTP`.
fn transport_of(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// What a port speaks to a route, by what it says. Values that nobody knows are ignored (Gateway API).
fn protocol(route: RouteRef<'_>, port: &ServicePort) -> BackendProtocol {
    match route {
        RouteRef::Grpc(_) => BackendProtocol::Http2,
        RouteRef::Http(_) => app_protocol(port),
        RouteRef::Tls(_) | RouteRef::Tcp(_) | RouteRef::Udp(_) => BackendProtocol::Http1,
    }
}

fn app_protocol(port: &ServicePort) -> BackendProtocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "gateway.envoyproxy.io/h2c" | "grpc") => BackendProtocol::Http2,
        _ => BackendProtocol::Http1,
    }
}

/// The endpoints of a port of a Service, by the port's name: those that are ready, or if there are none
/// those that still serve while they are being stopped.
fn endpoints(slices: &[&EndpointSlice], port: &ServicePort) -> Vec<Endpoint> {
    let mut by_state: BTreeMap<bool, Vec<Endpoint>> = BTreeMap::new();
    for slice in slices {
        let numbers = slice.ports.iter().filter(|candidate| {
            candidate.name.as_deref().unwrap_or_default()
                == port.name.as_deref().unwrap_or_default()
                && candidate.protocol.as_deref().unwrap_or("TCP") == transport_of(port)
        });
        for number in numbers.filter_map(|candidate| candidate.port) {
            for endpoint in &slice.endpoints {
                let Some(ready) = ready(&endpoint.conditions) else {
                    continue;
                };
                let addresses = endpoint.addresses.iter();
                let addresses = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
                by_state
                    .entry(ready)
                    .or_default()
                    .extend(addresses.map(|address| Endpoint {
                        address: SocketAddr::new(address, number),
                        weight: 1,
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

/// `Some(true)`: takes requests; `Some(false)`: is being stopped, but still answers; `None`: does not.
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

/// The code of a diagnostic and what to do about it, for what is wrong with a reference to a backend whatever
/// the route; `None`: the reason is another.
pub(super) fn advice(reason: &str) -> Option<(&'static str, &'static str)> {
    Some(match reason {
        "RefNotPermitted" => (
            "reference-not-granted",
            "Add a ReferenceGrant for it in the namespace of the object that is named.",
        ),
        "BackendNotFound" => (
            "backend-not-found",
            "Add the Service, or correct its name and namespace.",
        ),
        "PortNotFound" | "PortNotSpecified" => {
            ("backend-port", "Name a port that the Service has.")
        }
        "EndpointsNotFound" => (
            "no-endpoints",
            "Add an EndpointSlice with ready endpoints, or give addresses with --endpoint.",
        ),
        _ => return None,
    })
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
    fn endpoints_that_are_being_stopped_serve_only_if_no_other_does() {
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

    #[test]
    fn unknown_application_protocols_are_ignored() {
        let spoken = |text: &str| {
            let port = serde_json::from_value(json!({ "port": 80, "appProtocol": text }));
            app_protocol(&port.unwrap())
        };

        assert_eq!(spoken("kubernetes.io/h2c"), BackendProtocol::Http2);
        assert_eq!(spoken("kubernetes.io/ws"), BackendProtocol::Http1);
        assert_eq!(spoken("HTTPS"), BackendProtocol::Http1);
    }
}
