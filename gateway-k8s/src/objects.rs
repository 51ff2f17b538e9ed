//! All objects, typed, by kind and name.

mod store;

pub use store::Store;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towergate_policy::SchemaViolation;
use towergate_policy::backend::BackendSpec;
use towergate_policy::backend_traffic::BackendTrafficPolicySpec;
use towergate_policy::client_traffic::ClientTrafficPolicySpec;
use towergate_policy::envoy_proxy::EnvoyProxySpec;
use towergate_policy::route_filter::HttpRouteFilterSpec;
use towergate_policy::security::SecurityPolicySpec;

use crate::api::core::{ConfigMap, EndpointSlice, Namespace, Secret, ServiceSpec};
use crate::api::gateway::{GatewayClassSpec, GatewaySpec};
use crate::api::grpc_route::GrpcRouteSpec;
use crate::api::http_route::HttpRouteSpec;
use crate::api::listener_set::ListenerSetSpec;
use crate::api::meta::ObjectMeta;
use crate::api::policy::{BackendTlsPolicySpec, EnvoyExtensionPolicySpec, EnvoyPatchPolicySpec};
use crate::api::reference_grant::ReferenceGrantSpec;
use crate::api::stream_route::{PortRouteSpec, TlsRouteSpec};
use crate::decode::locate;
use crate::object_name::is_subdomain;

/// Namespace and name. The namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// A key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Placeholder for the unreadable namespace of a policy from a file: its targets fail closed in
/// every namespace. It is not a valid namespace name.
pub const EVERY_NAMESPACE: &str = "*";

/// An object with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<S> {
    /// `apiVersion` as written.
    pub api_version: String,
    /// The `metadata` that the gateway uses.
    pub meta: ObjectMeta,
    /// `spec`; for kinds without `spec` (Secret, ConfigMap, EndpointSlice, Namespace), the object itself.
    pub spec: S,
    /// Invalid and unknown fields that may restrict access. The parts of the object that contain
    /// them fail closed: a rule of a route, a route, a listener, a grant, the targets of a policy.
    /// Other unknown fields are ignored.
    pub unreadable_fields: Vec<SchemaViolation>,
    /// Origin.
    pub origin: Origin,
}

impl<S> Object<S> {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&*self.meta.namespace, &*self.meta.name)
    }
}

/// The origin of an object, with the text in which fields can be located.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// File; empty for objects of an API server.
    pub file: Arc<str>,
    /// First line of the document in the file, from 1; 0 if unknown.
    pub line: usize,
    /// Text of the document; empty if unknown.
    pub text: Arc<str>,
    /// Path of the object in the document, such as `items[2]` of a `List`; empty for the whole document.
    pub within: Arc<str>,
}

impl Origin {
    /// Line and column in the file, from 1, of `field` (such as `spec.listeners[0].tls`; empty for the whole
    /// object) or of its nearest parent that is present. `None`: the text is unknown.
    pub fn locate(&self, field: &str) -> Option<(usize, usize)> {
        if self.text.is_empty() {
            return None;
        }
        let place = locate(&self.text, &self.within, field)?;
        Some((self.line.max(1) - 1 + place.line, place.column))
    }
}

/// All objects as written. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// `gateway.networking.k8s.io` GatewayClass.
    pub gateway_classes: Store<GatewayClassSpec>,
    /// `gateway.networking.k8s.io` Gateway.
    pub gateways: Store<GatewaySpec>,
    /// `gateway.networking.k8s.io` ListenerSet.
    pub listener_sets: Store<ListenerSetSpec>,
    /// `gateway.networking.k8s.io` HTTPRoute.
    pub http_routes: Store<HttpRouteSpec>,
    /// `gateway.networking.k8s.io` GRPCRoute.
    pub grpc_routes: Store<GrpcRouteSpec>,
    /// `gateway.networking.k8s.io` TLSRoute.
    pub tls_routes: Store<TlsRouteSpec>,
    /// `gateway.networking.k8s.io` TCPRoute.
    pub tcp_routes: Store<PortRouteSpec>,
    /// `gateway.networking.k8s.io` UDPRoute.
    pub udp_routes: Store<PortRouteSpec>,
    /// `gateway.networking.k8s.io` ReferenceGrant.
    pub reference_grants: Store<ReferenceGrantSpec>,
    /// `gateway.networking.k8s.io` BackendTLSPolicy.
    pub backend_tls_policies: Store<BackendTlsPolicySpec>,
    /// `gateway.envoyproxy.io` ClientTrafficPolicy.
    pub client_traffic_policies: Store<ClientTrafficPolicySpec>,
    /// `gateway.envoyproxy.io` BackendTrafficPolicy.
    pub backend_traffic_policies: Store<BackendTrafficPolicySpec>,
    /// `gateway.envoyproxy.io` SecurityPolicy.
    pub security_policies: Store<SecurityPolicySpec>,
    /// `gateway.envoyproxy.io` EnvoyExtensionPolicy. Not supported: the targets fail closed.
    pub extension_policies: Store<EnvoyExtensionPolicySpec>,
    /// `gateway.envoyproxy.io` EnvoyPatchPolicy. Not supported: the targets fail closed.
    pub patch_policies: Store<EnvoyPatchPolicySpec>,
    /// `gateway.envoyproxy.io` Backend.
    pub backends: Store<BackendSpec>,
    /// `gateway.envoyproxy.io` HTTPRouteFilter.
    pub route_filters: Store<HttpRouteFilterSpec>,
    /// `gateway.envoyproxy.io` EnvoyProxy.
    pub envoy_proxies: Store<EnvoyProxySpec>,
    /// Service.
    pub services: Store<ServiceSpec>,
    /// EndpointSlice.
    pub endpoint_slices: Store<EndpointSlice>,
    /// Secret.
    pub secrets: Store<Secret>,
    /// ConfigMap.
    pub config_maps: Store<ConfigMap>,
    /// Namespace.
    pub namespaces: Store<Namespace>,
    /// Secrets that a Certificate of cert-manager would create in a cluster, with the name of that Certificate.
    pub issued: BTreeMap<ObjectKey, ObjectKey>,
}

impl Objects {
    /// Removes the policies of a file that have placeholder names, because their last good versions are in
    /// service. An empty `kind` selects every kind.
    pub(crate) fn remove_nameless_policies(&mut self, kind: &str, file: &str) {
        macro_rules! remove {
            ($($field:ident: $kind:literal),*) => {$(
                if kind.is_empty() || kind == $kind {
                    self.$field.retain(|object| {
                        *object.origin.file != *file || is_subdomain(&object.meta.name)
                    });
                }
            )*};
        }
        remove!(
            backend_tls_policies: "BackendTLSPolicy",
            client_traffic_policies: "ClientTrafficPolicy",
            backend_traffic_policies: "BackendTrafficPolicy",
            security_policies: "SecurityPolicy",
            extension_policies: "EnvoyExtensionPolicy",
            patch_policies: "EnvoyPatchPolicy"
        );
    }

    /// Adds the objects of `other` that are missing or invalid here and for which `keep` returns `true`. The
    /// arguments of `keep` are the kind, the name and the origin of an object.
    pub fn fill_from(
        &mut self,
        other: &Self,
        mut keep: impl FnMut(&'static str, &ObjectKey, &Origin) -> bool,
    ) {
        macro_rules! fill {
            ($($field:ident: $kind:literal),*) => {$(
                self.$field.fill_from(&other.$field, |key, object| keep($kind, key, &object.origin));
            )*};
        }
        fill!(
            gateway_classes: "GatewayClass",
            gateways: "Gateway",
            listener_sets: "ListenerSet",
            http_routes: "HTTPRoute",
            grpc_routes: "GRPCRoute",
            tls_routes: "TLSRoute",
            tcp_routes: "TCPRoute",
            udp_routes: "UDPRoute",
            reference_grants: "ReferenceGrant",
            backend_tls_policies: "BackendTLSPolicy",
            client_traffic_policies: "ClientTrafficPolicy",
            backend_traffic_policies: "BackendTrafficPolicy",
            security_policies: "SecurityPolicy",
            extension_policies: "EnvoyExtensionPolicy",
            patch_policies: "EnvoyPatchPolicy",
            backends: "Backend",
            route_filters: "HTTPRouteFilter",
            envoy_proxies: "EnvoyProxy",
            services: "Service",
            endpoint_slices: "EndpointSlice",
            secrets: "Secret",
            config_maps: "ConfigMap",
            namespaces: "Namespace"
        );
    }
}
