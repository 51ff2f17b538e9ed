//! Backends: from a backendRef to the port of a Service or to a Backend, with endpoints, protocol and TLS.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use towergate_core::filter::HostRewrite;
use towergate_core::plan::{Backend, BackendId, BackendKind, BackendProtocol, Endpoint, Endpoints};
use towergate_tls::client::ClientTls;

use super::super::grant::From;
use super::super::object_index::ObjectIndex;
use super::super::policy::backend_tls::BackendTls;
use super::super::report::Report;
use super::RouteRef;
use super::backend_error::{BackendError, fault};
use super::backend_object::{self, BackendObject, BackendObjects};
use super::endpoint_slices::endpoints_of;
use super::extension::Extensions;
use super::service_port::{Transport, app_protocol, find, find_from, from_route, protocol};
use crate::api::core::ServicePort;
use crate::api::reference::{BackendObjectReference, ParentReference};
use crate::objects::ObjectKey;
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
    /// Parents of the route that is being resolved.
    parents: Vec<ParentReference>,
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
    /// The host name that all endpoints share; `None`: the endpoints have no host name.
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

    /// Rejects a Backend of type DynamicResolver next to other backendRefs. `is_alone`: the rule has no other
    /// backendRef.
    pub(super) fn check_alone(self, is_alone: bool) -> Result<Self, BackendError> {
        if self.backend.dynamic.is_some() && !is_alone {
            let message = "a Backend of type DynamicResolver excludes other backendRefs";
            return fault(RouteReason::InvalidBackendRef, message.to_owned());
        }
        Ok(self)
    }

    /// Rejects a Backend of type DynamicResolver next to other backendRefs, or with a host that is taken from the
    /// path. `is_alone`: the rule has no other backendRef.
    pub(super) fn check_dynamic(
        self,
        is_alone: bool,
        extensions: &Extensions,
    ) -> Result<Self, BackendError> {
        if self.backend.dynamic.is_none() {
            return Ok(self);
        }
        let found = self.check_alone(is_alone)?;
        let host = extensions
            .rewrite
            .as_ref()
            .and_then(|own| own.host.as_ref());
        if matches!(host, Some(HostRewrite::Path(_))) {
            let message =
                "a Backend of type DynamicResolver excludes urlRewrite.hostname.pathRegex";
            return fault(RouteReason::UnsupportedValue, message.to_owned());
        }
        Ok(found)
    }
}

impl<'a> Backends<'a> {
    /// Creates an empty set of backends.
    pub(crate) fn new(index: &ObjectIndex<'a>) -> Self {
        Self {
            endpoints: Endpoints::new(),
            known: HashSet::new(),
            tls: BackendTls::new(index),
            objects: BackendObjects::default(),
            parents: Vec::new(),
        }
    }

    /// Sets the parents of the route that is resolved next.
    pub(super) fn reached_through(&mut self, parents: Vec<ParentReference>) {
        self.parents = parents;
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
            let object = self.resolve_object(index, route, written, tls)?;
            return match object.backend.dynamic {
                Some(_) if route.carries_streams() => {
                    let key =
                        ObjectKey::new(&*object.backend.id.namespace, &*object.backend.id.name);
                    fault(RouteReason::UnsupportedValue, dynamic_message(&key))
                }
                _ => Ok(object),
            };
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

    /// The backend of a service that `policy` calls. A BackendTLSPolicy for this backend has `policy` as an
    /// ancestor.
    ///
    /// # Errors
    /// The reason, as a sentence without a full stop.
    pub(crate) fn resolve_of_policy(
        &mut self,
        index: &ObjectIndex<'_>,
        from: From<'_>,
        policy: &ParentReference,
        written: &BackendObjectReference,
    ) -> Result<Arc<Backend>, String> {
        let ancestors = std::slice::from_ref(policy);
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
            let policy = self.tls.find(index, ("Backend", &key), "", ancestors)?;
            let tls = object.client_tls(policy.as_ref(), protocol).map(Arc::new);
            return Ok(self.of_object(&key, &object, protocol, tls).backend);
        }
        let (key, port) =
            find_from(index, from, Transport::Tcp, written).map_err(|fault| fault.message)?;
        let name = port.name.as_deref().unwrap_or_default();
        let protocol = app_protocol(port);
        let tls = self.tls.find(index, ("Service", &key), name, ancestors)?;
        let id = BackendId::service(&key.namespace, &key.name, port.port);
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

    /// The object of kind Backend that a rule of `route` references. `tls`: include the TLS settings of the
    /// Backend.
    fn resolve_object(
        &mut self,
        index: &ObjectIndex<'_>,
        route: RouteRef<'_>,
        written: &BackendObjectReference,
        tls: bool,
    ) -> Result<ResolvedBackend, BackendError> {
        let (key, object) = self.objects.find(index, from_route(route), written)?;
        if object.dynamic.is_some() && matches!(route, RouteRef::Tcp(_) | RouteRef::Udp(_)) {
            return fault(RouteReason::UnsupportedValue, dynamic_message(&key));
        }
        if object.has_unix_socket() && matches!(route, RouteRef::Udp(_)) {
            let message = format!("Backend {key}: a unix domain socket receives no datagrams");
            return fault(RouteReason::UnsupportedAddressType, message);
        }
        let protocol = match route {
            RouteRef::Grpc(_) => BackendProtocol::Http2,
            RouteRef::Http(_) if object.h2c => BackendProtocol::Http2,
            _ => BackendProtocol::Http1,
        };
        let mut settings = None;
        if tls {
            let policy = self.tls.find(index, ("Backend", &key), "", &self.parents);
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
            kind: BackendKind::Backend,
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
            // Host names are resolved by the data plane, so they count as endpoints here.
            available: !object.endpoints.is_empty()
                || !object.hosts.is_empty()
                || object.dynamic.is_some(),
            host_names: object.host_names.clone(),
        }
    }

    /// Replaces a backend that is a Service by its cluster address (`routingType: Service`). A Service
    /// without an IP address in `clusterIP`, such as a headless Service, keeps its endpoints.
    pub(in super::super) fn route_to_address(
        &mut self,
        index: &ObjectIndex<'_>,
        backend: &mut Arc<Backend>,
    ) {
        let id = &backend.id;
        let kind = match id.kind {
            BackendKind::Service => BackendKind::ServiceAddress,
            BackendKind::UdpService => BackendKind::UdpServiceAddress,
            BackendKind::ServiceAddress | BackendKind::UdpServiceAddress => return,
            BackendKind::Backend | BackendKind::RateLimitService | BackendKind::Url => return,
        };
        let key = ObjectKey::new(&*id.namespace, &*id.name);
        let service = index.objects.services.get(&key);
        let address = service.and_then(|service| service.spec.cluster_ip.as_deref());
        let Some(Ok(address)) = address.map(str::parse::<IpAddr>) else {
            return;
        };
        let endpoint = Endpoint {
            address: SocketAddr::from((address, id.port)).into(),
            weight: 1,
            zone: None,
        };
        let id = BackendId { kind, ..id.clone() };
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
            .find(index, ("Service", service), name, &self.parents)
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
                Transport::Udp => BackendKind::UdpService,
                Transport::Tcp => BackendKind::Service,
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

    /// Adds the endpoints of a backend. Returns whether the backend has endpoints.
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

fn dynamic_message(key: &ObjectKey) -> String {
    format!(
        "Backend {key}: type DynamicResolver is supported in backendRefs of HTTPRoutes and GRPCRoutes only, which have \
         the host of a request, and of TLSRoutes of listeners of mode Passthrough, which have a server name"
    )
}
