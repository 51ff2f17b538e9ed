//! GatewayClass and Gateway.

use std::collections::BTreeMap;

use super::http_route::ExternalAuth;
use super::meta::LabelSelector;
use super::reference::{LocalObjectReference, ObjectReference, SecretObjectReference};

objects! {
    /// `spec` of a GatewayClass.
    pub struct GatewayClassSpec {
        /// Name of the controller that serves Gateways of this class.
        pub controller_name: String,
        /// Parameters of the controller.
        pub parameters_ref: Option<ObjectReference>,
        /// Description.
        pub description: Option<String>,
    }

    /// `spec` of a Gateway.
    pub struct GatewaySpec {
        /// Name of the GatewayClass.
        pub gateway_class_name: String,
        /// Listeners.
        pub listeners: Vec<Listener>,
        /// Requested addresses.
        pub addresses: Vec<GatewaySpecAddress>,
        /// Metadata of the objects that are created for the Gateway.
        pub infrastructure: Option<GatewayInfrastructure>,
        /// ListenerSets that may add listeners.
        pub allowed_listeners: Option<AllowedListeners>,
        /// TLS for all listeners.
        pub tls: Option<GatewayTlsConfig>,
        /// Scope of a default Gateway, to which routes attach without a parentRef.
        pub default_scope: Option<String>,
    }

    /// A listener.
    pub struct Listener {
        /// Name, unique in the Gateway.
        pub name: String,
        /// Hostname; absent or empty: all hostnames.
        pub hostname: Option<String>,
        /// Port.
        pub port: i32,
        /// `HTTP`, `HTTPS`, `TLS`, `TCP` or `UDP`.
        pub protocol: String,
        /// TLS settings.
        pub tls: Option<ListenerTlsConfig>,
        /// Routes that may attach.
        pub allowed_routes: Option<AllowedRoutes>,
        /// Filters that apply to all requests, before a route is matched (GEP-5224).
        pub filters: Option<Box<ListenerFilters>>,
    }

    /// Filters of all requests of a listener.
    pub struct ListenerFilters {
        /// Filters of requests, in order.
        pub requests: Vec<ListenerFilter>,
    }

    /// A filter of a listener.
    pub struct ListenerFilter {
        /// `ExternalAuth` or `ExtensionRef`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Settings for `ExternalAuth`.
        pub external_auth: Option<ExternalAuth>,
        /// Object for `ExtensionRef`.
        pub extension_ref: Option<LocalObjectReference>,
    }

    /// TLS settings of a listener.
    pub struct ListenerTlsConfig {
        /// `Terminate` (the default) or `Passthrough`.
        pub mode: Option<String>,
        /// Certificates, at most 64.
        pub certificate_refs: Vec<SecretObjectReference>,
        /// Implementation-specific options.
        pub options: BTreeMap<String, String>,
    }

    /// Routes that may attach to a listener.
    pub struct AllowedRoutes {
        /// Namespaces.
        pub namespaces: Option<RouteNamespaces>,
        /// Kinds of routes; empty: all kinds that the protocol supports.
        pub kinds: Vec<RouteGroupKind>,
    }

    /// Namespaces of routes or ListenerSets.
    pub struct RouteNamespaces {
        /// `Same` (the default for routes), `All`, `Selector` or `None` (the default for ListenerSets).
        pub from: Option<String>,
        /// Labels of the namespaces, for `Selector`.
        pub selector: Option<LabelSelector>,
    }

    /// A kind of route.
    pub struct RouteGroupKind {
        /// API group. Default: that of Gateway API.
        pub group: Option<String>,
        /// Kind.
        pub kind: String,
    }

    /// A requested address of a Gateway.
    pub struct GatewaySpecAddress {
        /// `IPAddress` (the default), `Hostname`, or an implementation-specific type.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// Address; absent: any address of the type.
        pub value: Option<String>,
        /// From where the address is reachable (GEP-5093): `Cluster`, or an implementation-specific value.
        pub routability: Option<String>,
    }

    /// Metadata of the objects that are created for a Gateway.
    pub struct GatewayInfrastructure {
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
        /// Parameters of the controller.
        pub parameters_ref: Option<LocalObjectReference>,
    }

    /// ListenerSets that may add listeners.
    pub struct AllowedListeners {
        /// Namespaces.
        pub namespaces: Option<RouteNamespaces>,
    }

    /// TLS for all listeners of a Gateway.
    pub struct GatewayTlsConfig {
        /// TLS of connections to backends.
        pub backend: Option<GatewayBackendTls>,
        /// TLS of connections from clients.
        pub frontend: Option<FrontendTlsConfig>,
    }

    /// TLS of connections to backends.
    pub struct GatewayBackendTls {
        /// Client certificate of the gateway.
        pub client_certificate_ref: Option<SecretObjectReference>,
    }

    /// TLS of connections from clients.
    pub struct FrontendTlsConfig {
        /// Settings of ports that have no settings of their own.
        pub default: Option<FrontendTls>,
        /// Settings of single ports.
        pub per_port: Vec<FrontendTlsOfPort>,
    }

    /// TLS of connections from clients to one port.
    pub struct FrontendTlsOfPort {
        /// The port.
        pub port: i32,
        /// TLS settings of the port.
        pub tls: Option<FrontendTls>,
    }

    /// TLS of connections from clients.
    pub struct FrontendTls {
        /// Validation of client certificates.
        pub validation: Option<FrontendTlsValidation>,
    }

    /// Validation of client certificates.
    pub struct FrontendTlsValidation {
        /// ConfigMaps with CA certificates.
        #[serde(rename = "caCertificateRefs")]
        pub ca_certificate_refs: Vec<ObjectReference>,
        /// `AllowValidOnly` (the default) or `AllowInsecureFallback`.
        pub mode: Option<String>,
    }
}
