//! Backends: from a backendRef to the port of a Service or to a Backend, its endpoints, and its protocol.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use towergate_core::plan::{Backend, BackendId, BackendProtocol, Endpoint, Endpoints};
use towergate_tls::client::ClientTls;

use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::super::policy::backend_tls::BackendTls;
use super::super::report::Report;
use super::RouteRef;
use super::backend_object::{self, BackendObject, BackendObjects};
use crate::api::GATEWAY_GROUP;
use crate::api::core::{EndpointConditions, EndpointSlice, ServicePort, ServiceSpec};
use crate::api::gateway::GatewaySpec;
use crate::api::reference::{BackendObjectReference, ParentReference};
use crate::objects::{Object, ObjectKey};
use crate::status::{RouteReason, Statuses};

/// Backends of all rules, each resolved once.
#[derive(Debug)]
pub(crate) struct Backends<'a> {
    /// Endpoints of the backends.
    pub(crate) endpoints: Endpoints,
    /// Each distinct backend, stored once so that rules share the instance.
    known: HashSet<Arc<Backend>>,
    /// TLS to backends.
    pub(crate) tls: BackendTls<'a>,
    /// Objects of kind Backend.
    objects: BackendObjects,
    /// Gateways of the route that is being resolved.
    gateways: Vec<ParentReference>,
}

/// A resolved backend.
#[derive(Debug)]
pub(super) struct ResolvedBackend {
    pub(super) backend: Arc<Backend>,
    /// Whether the backend has ready endpoints.
    pub(super) available: bool,
    /// Host names of a Backend's endpoints, without duplicates. `None`: an endpoint without a host
    /// name.
    pub(super) host_names: Vec<Option<String>>,
}

impl ResolvedBackend {
    /// The host name that all endpoints share; `None`: they have none.
    ///
    /// # Errors
    /// The endpoints have different host names.
    pub(super) fn host_name(&self) -> Option<Result<String, String>> {
        match self.host_names.as_slice() {
            [] | [None] => None,
            [Some(name)] => Some(Ok(name.clone())),
            _ => Some(Err(format!(
                "urlRewrite.hostname.type Backend requires that the endpoints of {} have one host name",
                self.backend.id
            ))),
        }
    }
}

/// Error of a backendRef.
#[derive(Clone, Debug)]
pub(crate) struct BackendError {
    pub(super) reason: RouteReason,
    /// A clause without full stop.
    pub(super) message: String,
}

pub(super) fn fault<T>(reason: RouteReason, message: String) -> Result<T, BackendError> {
    Err(BackendError { reason, message })
}

impl<'a> Backends<'a> {
    /// No backends yet.
    pub(crate) fn new(index: &ObjectIndex<'a>) -> Self {
        Self {
            endpoints: Endpoints::new(),
            known: HashSet::new(),
            tls: BackendTls::new(index),
            objects: BackendObjects::default(),
            gateways: Vec::new(),
        }
    }

    /// Sets the Gateways of the route that is resolved next.
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

    /// The backend that a rule of `route` references.
    pub(super) fn resolve(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
    ) -> Result<ResolvedBackend, BackendError> {
        if backend_object::is_named_by(written) {
            let tls = !matches!(route, RouteRef::Udp(_));
            return self.resolve_object(index, route, written, tls);
        }
        let (key, port) = find(index, route, written)?;
        // There is no TLS over datagrams.
        let tls = match route {
            RouteRef::Udp(_) => None,
            _ => self.client_tls(index, route, &key, port)?,
        };
        Ok(self.found(index, route, (key, port), tls))
    }

    /// Like [`Self::resolve`], for requests of the gateway itself. Their host differs from that of
    /// the client's request.
    pub(super) fn resolve_fixed(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
    ) -> Result<ResolvedBackend, BackendError> {
        let found = self.resolve(index, route, written)?;
        match found.backend.dynamic {
            None => Ok(found),
            Some(_) => {
                let id = &found.backend.id;
                let key = ObjectKey::new(&*id.namespace, &*id.name);
                fault(RouteReason::UnsupportedValue, dynamic_message(&key))
            }
        }
    }

    /// The backend that a rule of `route` references, for connections that carry the client's TLS.
    pub(super) fn resolve_passed(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
    ) -> Result<ResolvedBackend, BackendError> {
        if backend_object::is_named_by(written) {
            return self.resolve_object(index, route, written, false);
        }
        let named = find(index, route, written)?;
        Ok(self.found(index, route, named, None))
    }

    /// The backend of a service that a policy calls.
    ///
    /// # Errors
    /// The reason, as a sentence without a full stop.
    pub(crate) fn resolve_of_policy(
        &mut self,
        index: &ObjectIndex<'_>,
        from: From<'_>,
        written: &BackendObjectReference,
    ) -> Result<Arc<Backend>, String> {
        if backend_object::is_named_by(written) {
            let found = self.objects.find(index, from, written);
            let (key, object) = found.map_err(|fault| fault.message)?;
            if object.dynamic.is_some() {
                return Err(dynamic_message(&key));
            }
            let protocol = match object.h2c {
                true => BackendProtocol::Http2,
                false => BackendProtocol::Http1,
            };
            let policy = self.tls.find(index, ("Backend", &key), "", &[])?;
            let tls = object.client_tls(policy.as_ref(), protocol).map(Arc::new);
            return Ok(self.of_object(&key, &object, protocol, tls).backend);
        }
        let (key, port) = find_from(index, from, "TCP", written).map_err(|fault| fault.message)?;
        let name = port.name.as_deref().unwrap_or_default();
        let protocol = app_protocol(port);
        let tls = self.tls.find(index, ("Service", &key), name, &[])?;
        let id = BackendId {
            kind: "Service".to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: port.port,
        };
        self.fill(index, &id, &key, port);
        let tls = tls.map(|tls| Arc::new(tls.client(protocol)));
        Ok(self.once(Backend {
            id,
            protocol,
            tls,
            hosts: Vec::new(),
            fallback: false,
            dynamic: None,
        }))
    }

    /// Adds statuses and findings of objects of kind Backend.
    pub(in super::super) fn report(
        &mut self,
        index: &ObjectIndex<'_>,
        report: &mut Report,
        statuses: &mut Statuses,
    ) {
        self.objects.report(index, report, statuses);
    }

    /// The object of kind Backend that a rule of `route` references. `tls`: include its TLS
    /// settings.
    fn resolve_object(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
        tls: bool,
    ) -> Result<ResolvedBackend, BackendError> {
        let (key, object) = self.objects.find(index, from_route(route), written)?;
        if object.dynamic.is_some() && !matches!(route, RouteRef::Http(_) | RouteRef::Grpc(_)) {
            return fault(RouteReason::UnsupportedValue, dynamic_message(&key));
        }
        let protocol = match route {
            RouteRef::Grpc(_) => BackendProtocol::Http2,
            RouteRef::Http(_) if object.h2c => BackendProtocol::Http2,
            _ => BackendProtocol::Http1,
        };
        let mut settings = None;
        if tls {
            let policy = self.tls.find(index, ("Backend", &key), "", &self.gateways);
            settings = match policy {
                Ok(policy) => object.client_tls(policy.as_ref(), protocol),
                Err(message) => return fault(RouteReason::InvalidBackendTls, message),
            };
        }
        let settings = settings.map(|mut tls| {
            if route.carries_streams() {
                tls.alpn.clear();
            }
            Arc::new(tls)
        });
        Ok(self.of_object(&key, &object, protocol, settings))
    }

    fn of_object(
        &mut self,
        key: &ObjectKey,
        object: &BackendObject,
        protocol: BackendProtocol,
        tls: Option<Arc<ClientTls>>,
    ) -> ResolvedBackend {
        let id = BackendId {
            kind: "Backend".to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: 0,
        };
        if object.hosts.is_empty() && object.dynamic.is_none() {
            let endpoints = || object.endpoints.clone();
            self.endpoints.entry(id.clone()).or_insert_with(endpoints);
        }
        let backend = self.once(Backend {
            id,
            protocol,
            tls,
            hosts: object.hosts.clone(),
            fallback: object.fallback,
            dynamic: object.dynamic.clone(),
        });
        ResolvedBackend {
            backend,
            // Only the data plane knows whether a name has addresses.
            available: !object.endpoints.is_empty()
                || !object.hosts.is_empty()
                || object.dynamic.is_some(),
            host_names: object.host_names.clone(),
        }
    }

    /// Replaces a backend that is a Service by its cluster address (`routingType: Service`). A headless Service,
    /// and one in a folder without `clusterIP`, keeps its endpoints.
    pub(in super::super) fn route_to_address(
        &mut self,
        index: &ObjectIndex<'_>,
        backend: &mut Arc<Backend>,
    ) {
        let id = &backend.id;
        if !matches!(&*id.kind, "Service" | "Service/UDP") {
            return;
        }
        let key = ObjectKey::new(&*id.namespace, &*id.name);
        let service = index.objects.services.get(&key);
        let address = service.and_then(|service| service.spec.cluster_ip.as_deref());
        let Some(Ok(address)) = address.map(str::parse::<IpAddr>) else {
            return;
        };
        let endpoint = Endpoint {
            address: (address, id.port).into(),
            weight: 1,
        };
        let id = BackendId {
            kind: format!("{}/ClusterIP", id.kind),
            ..id.clone()
        };
        self.endpoints.insert(id.clone(), vec![endpoint]);
        *backend = self.once(Backend {
            id,
            ..(**backend).clone()
        });
    }

    /// TLS settings for a port of a Service; `None`: plain text.
    fn client_tls(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        service: &ObjectKey,
        port: &ServicePort,
    ) -> Result<Option<Arc<ClientTls>>, BackendError> {
        let name = port.name.as_deref().unwrap_or_default();
        let tls = match self
            .tls
            .find(index, ("Service", service), name, &self.gateways)
        {
            Ok(tls) => tls.map(|tls| tls.client(protocol(route, port))),
            Err(message) => return fault(RouteReason::InvalidBackendTls, message),
        };
        Ok(tls.map(|mut tls| {
            // The protocol inside the connection is unknown.
            if route.carries_streams() {
                tls.alpn.clear();
            }
            Arc::new(tls)
        }))
    }

    fn found(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        (key, port): (ObjectKey, &ServicePort),
        tls: Option<Arc<ClientTls>>,
    ) -> ResolvedBackend {
        let id = BackendId {
            // A TCP port and a UDP port may have the same number.
            kind: match route.transport() {
                "UDP" => "Service/UDP".to_owned(),
                _ => "Service".to_owned(),
            },
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: port.port,
        };
        let available = self.fill(index, &id, &key, port);
        let protocol = protocol(route, port);
        ResolvedBackend {
            backend: self.once(Backend {
                id,
                protocol,
                tls,
                hosts: Vec::new(),
                fallback: false,
                dynamic: None,
            }),
            available,
            host_names: Vec::new(),
        }
    }

    /// The shared instance of a backend.
    fn once(&mut self, backend: Backend) -> Arc<Backend> {
        if let Some(known) = self.known.get(&backend) {
            return known.clone();
        }
        let backend = Arc::new(backend);
        self.known.insert(backend.clone());
        backend
    }

    /// Adds the endpoints of a backend. Returns whether there are any.
    fn fill(
        &mut self,
        index: &ObjectIndex<'_>,
        id: &BackendId,
        service: &ObjectKey,
        port: &ServicePort,
    ) -> bool {
        if !self.endpoints.contains_key(id) {
            let found = endpoints_of(index, id, service, port);
            self.endpoints.insert(id.clone(), found);
        }
        !self.endpoints[id].is_empty()
    }
}

/// The endpoints of a port of a Service: those of its EndpointSlices, or else those that the user configures.
pub(super) fn endpoints_of(
    index: &ObjectIndex<'_>,
    id: &BackendId,
    service: &ObjectKey,
    port: &ServicePort,
) -> Vec<Endpoint> {
    let slices = index.slices(service);
    if !slices.is_empty() {
        return endpoints(slices, port);
    }
    let id = BackendId {
        kind: "Service".to_owned(),
        ..id.clone()
    };
    let mut found = index
        .options
        .endpoints
        .get(&id)
        .cloned()
        .unwrap_or_default();
    found.sort();
    found.dedup();
    found
}

/// The Service and port that a rule of `route` references.
fn find<'w>(
    index: &ObjectIndex<'w>,
    route: RouteRef<'_>,
    written: &BackendObjectReference,
) -> Result<(ObjectKey, &'w ServicePort), BackendError> {
    find_from(index, from_route(route), route.transport(), written)
}

fn dynamic_message(key: &ObjectKey) -> String {
    format!(
        "Backend {key}: type DynamicResolver is supported in backendRefs of HTTPRoutes and GRPCRoutes only, which have \
         the host of a request"
    )
}

fn from_route(route: RouteRef<'_>) -> From<'_> {
    From {
        group: GATEWAY_GROUP,
        kind: route.kind(),
        namespace: &route.meta().namespace,
    }
}

/// The Service and its port that an object names.
fn find_from<'w>(
    index: &ObjectIndex<'w>,
    from: From<'_>,
    transport: &str,
    written: &BackendObjectReference,
) -> Result<(ObjectKey, &'w ServicePort), BackendError> {
    check_kind(written)?;
    let namespace = written
        .namespace
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(from.namespace);
    let key = ObjectKey::new(namespace, &*written.name);
    let to = To {
        group: "",
        kind: "Service",
        namespace,
        name: &written.name,
    };
    if !index.grants.permit(from, to) {
        let message = format!("no ReferenceGrant permits the reference to Service {key}");
        return fault(RouteReason::RefNotPermitted, message);
    }
    let Some(number) = written.port else {
        return fault(
            RouteReason::PortNotSpecified,
            format!("the reference to Service {key} has no port"),
        );
    };
    let port = service_port(index, &key, number, transport)?;
    Ok((key, port))
}

/// Rejects references to other kinds than Service.
fn check_kind(written: &BackendObjectReference) -> Result<(), BackendError> {
    let group = written.group.as_deref().unwrap_or_default();
    let kind = written.kind.as_deref().unwrap_or("Service");
    match (group, kind) {
        ("", "Service") => Ok(()),
        _ => {
            let message = format!(
                "{kind} of group {group:?} cannot be a backend; use a Service or a Backend"
            );
            fault(RouteReason::InvalidKind, message)
        }
    }
}

fn service_port<'w>(
    index: &ObjectIndex<'w>,
    key: &ObjectKey,
    number: i32,
    transport: &str,
) -> Result<&'w ServicePort, BackendError> {
    let Some(service) = index.objects.services.get(key) else {
        return fault(
            RouteReason::BackendNotFound,
            format!("Service {key} not found"),
        );
    };
    if service.spec.kind.as_deref() == Some("ExternalName") {
        let message = external_name(key, &service.spec);
        return fault(RouteReason::UnsupportedValue, message);
    }
    let mut ports = service.spec.ports.iter();
    let port = ports.find(|port| i32::from(port.port) == number && transport_of(port) == transport);
    match port {
        Some(port) => Ok(port),
        None => fault(
            RouteReason::PortNotFound,
            format!("Service {key} has no {transport} port {number}"),
        ),
    }
}

/// Why a Service of type ExternalName is not a backend, and the alternative. A Service can name any
/// host, and its author may lack the permission to create Backends.
fn external_name(key: &ObjectKey, service: &ServiceSpec) -> String {
    let host = service.external_name.as_deref().unwrap_or("HOST");
    let port = service.ports.first().map_or(443, |port| port.port);
    format!(
        "Service {key} has type ExternalName, which is not supported; create a Backend \
         (gateway.envoyproxy.io/v1alpha1) with \
         spec: {{endpoints: [{{fqdn: {{hostname: {host}, port: {port}}}}}]}} and reference it with group and kind"
    )
}

/// `TCP`, `UDP` or `SCTP`.
fn transport_of(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// Protocol of a port for a route. Unknown values of `appProtocol` are ignored (Gateway API).
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

/// The endpoints of a port of a Service, by port name: those that are ready, or else those that are
/// terminating and still serve.
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
