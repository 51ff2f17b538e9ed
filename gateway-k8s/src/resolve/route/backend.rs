//! Backends: from a backendRef to a Service's port, its endpoints, and how to speak to them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use towergate_core::plan::{Backend, BackendId, BackendProtocol, Endpoint, Endpoints};

use super::super::grant::{From, To};
use super::super::policy::backend_tls::BackendTls;
use super::super::world::World;
use super::RouteRef;
use crate::api::GATEWAY_GROUP;
use crate::api::core::{EndpointConditions, EndpointSlice, ServicePort};
use crate::api::reference::{BackendObjectReference, ParentReference};
use crate::objects::ObjectKey;

/// Backends that rules name, each resolved once.
#[derive(Debug)]
pub(crate) struct Backends<'a> {
    /// Addresses of the backends that were named.
    pub(crate) endpoints: Endpoints,
    /// TLS towards backends.
    pub(crate) tls: BackendTls<'a>,
    /// Parents of the route whose rules are being resolved.
    parents: Vec<ParentReference>,
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
            tls: BackendTls::new(world),
            parents: Vec::new(),
        }
    }

    /// The rules of another route come next.
    pub(super) fn parents(&mut self, parents: Vec<ParentReference>) {
        self.parents = parents;
    }

    /// The backend that a rule of `route` names.
    pub(super) fn resolve(
        &mut self,
        world: &World<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
    ) -> Result<Found, BackendFault> {
        let (key, port) = find(world, route, written)?;
        let protocol = match route {
            RouteRef::Grpc(_) => BackendProtocol::Http2,
            RouteRef::Http(_) => protocol(port),
        };
        let name = port.name.as_deref().unwrap_or_default();
        let tls = match self.tls.find(world, &key, name, &self.parents) {
            Ok(tls) => tls.map(|tls| Arc::new(tls.client(protocol))),
            Err(message) => return fault("InvalidBackendTLS", message),
        };
        let id = BackendId {
            kind: "Service".to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: port.port,
        };
        let available = self.fill(world, &id, &key, port);
        Ok(Found {
            backend: Arc::new(Backend { id, protocol, tls }),
            available,
        })
    }

    /// Whether a rule of `route` may name this backend.
    pub(super) fn check(
        &self,
        world: &World<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
    ) -> Result<(), BackendFault> {
        find(world, route, written).map(drop)
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
                found = world.scope.endpoints.get(id).cloned().unwrap_or_default();
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
    let group = written.group.as_deref().unwrap_or_default();
    let kind = written.kind.as_deref().unwrap_or("Service");
    match (group, kind) {
        ("", "Service") => {}
        ("gateway.envoyproxy.io", "Backend") => {
            return fault(
                "UnsupportedValue",
                format!("Backend {} is not supported, Services are", written.name),
            );
        }
        _ => {
            return fault(
                "InvalidKind",
                format!("{kind} of group {group:?} is no backend: Services are"),
            );
        }
    }
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
        group,
        kind,
        namespace,
        name: &written.name,
    };
    if !world.grants.permit(from, to) {
        return fault(
            "RefNotPermitted",
            format!("no ReferenceGrant permits the reference to Service {key}"),
        );
    }
    let Some(number) = written.port else {
        return fault(
            "PortNotSpecified",
            format!("the reference to Service {key} has no port"),
        );
    };
    let Some(service) = world.objects.services.get(&key) else {
        return fault("BackendNotFound", format!("there is no Service {key}"));
    };
    if service.spec.kind.as_deref() == Some("ExternalName") {
        return fault(
            "UnsupportedValue",
            format!("Service {key} is an ExternalName, which has no endpoints"),
        );
    }
    let port = service
        .spec
        .ports
        .iter()
        .find(|port| i32::from(port.port) == number && is_tcp(port.protocol.as_deref()));
    match port {
        Some(port) => Ok((key, port)),
        None => fault(
            "PortNotFound",
            format!("Service {key} has no TCP port {number}"),
        ),
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("TCP"))
}

/// What a port says that it speaks. Values that nobody knows are ignored (Gateway API).
fn protocol(port: &ServicePort) -> BackendProtocol {
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
                && is_tcp(candidate.protocol.as_deref())
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
