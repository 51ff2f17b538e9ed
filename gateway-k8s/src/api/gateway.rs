//! GatewayClass and Gateway.

use std::collections::BTreeMap;

use super::meta::LabelSelector;
use super::reference::{LocalObjectReference, ObjectReference, SecretObjectReference};

objects! {
    /// `spec` of a GatewayClass.
    pub struct GatewayClassSpec {
        /// Who serves Gateways of this class.
        pub controller_name: String,
        /// Parameters of the controller.
        pub parameters_ref: Option<ObjectReference>,
        /// For people.
        pub description: Option<String>,
    }

    /// `spec` of a Gateway.
    pub struct GatewaySpec {
        /// Its class.
        pub gateway_class_name: String,
        /// What it listens for.
        pub listeners: Vec<Listener>,
        /// Addresses that it should have.
        pub addresses: Vec<GatewaySpecAddress>,
        /// What the objects made for it should be like.
        pub infrastructure: Option<GatewayInfrastructure>,
        /// Which ListenerSets may add listeners.
        pub allowed_listeners: Option<AllowedListeners>,
        /// TLS for all listeners.
        pub tls: Option<GatewayTlsConfig>,
        /// Routes without a parent that it takes.
        pub default_scope: Option<String>,
    }

    /// A listener.
    pub struct Listener {
        /// Its name, unique in the Gateway.
        pub name: String,
        /// The host names that it takes; missing or empty: all.
        pub hostname: Option<String>,
        /// Its port.
        pub port: i32,
        /// `HTTP`, `HTTPS`, `TLS`, `TCP` or `UDP`.
        pub protocol: String,
        /// Its TLS settings.
        pub tls: Option<ListenerTlsConfig>,
        /// Which routes may attach.
        pub allowed_routes: Option<AllowedRoutes>,
    }

    /// TLS settings of a listener.
    pub struct ListenerTlsConfig {
        /// `Terminate` (the default) or `Passthrough`.
        pub mode: Option<String>,
        /// Certificates, at most 64.
        pub certificate_refs: Vec<SecretObjectReference>,
        /// Settings of the implementation.
        pub options: BTreeMap<String, String>,
    }

    /// Which routes may attach to a listener.
    pub struct AllowedRoutes {
        /// From where.
        pub namespaces: Option<RouteNamespaces>,
        /// Of which kinds; empty: those that the protocol can serve.
        pub kinds: Vec<RouteGroupKind>,
    }

    /// Namespaces of routes or ListenerSets.
    pub struct RouteNamespaces {
        /// `Same` (the default for routes), `All`, `Selector` or `None` (the default for ListenerSets).
        pub from: Option<String>,
        /// For `Selector`: labels of the namespace.
        pub selector: Option<LabelSelector>,
    }

    /// A kind of route.
    pub struct RouteGroupKind {
        /// Missing: Gateway API's group.
        pub group: Option<String>,
        /// Its kind.
        pub kind: String,
    }

    /// An address that a Gateway should have.
    pub struct GatewaySpecAddress {
        /// `IPAddress` (the default), `Hostname`, or a name of the implementation.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// The address; missing: any of the type.
        pub value: Option<String>,
    }

    /// What the objects made for a Gateway should be like.
    pub struct GatewayInfrastructure {
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
        /// Parameters of the controller.
        pub parameters_ref: Option<LocalObjectReference>,
    }

    /// Which ListenerSets may add listeners.
    pub struct AllowedListeners {
        /// From where.
        pub namespaces: Option<RouteNamespaces>,
    }

    /// TLS for all listeners of a Gateway.
    pub struct GatewayTlsConfig {
        /// Towards backends.
        pub backend: Option<GatewayBackendTls>,
        /// Towards clients.
        pub frontend: Option<FrontendTlsConfig>,
    }

    /// TLS towards backends.
    pub struct GatewayBackendTls {
        /// The certificate that the gateway shows.
        pub client_certificate_ref: Option<SecretObjectReference>,
    }

    /// TLS towards clients.
    pub struct FrontendTlsConfig {
        /// For ports without their own.
        pub default: Option<FrontendTls>,
        /// By port.
        pub per_port: Vec<FrontendTlsOfPort>,
    }

    /// TLS towards clients of one port.
    pub struct FrontendTlsOfPort {
        /// The port.
        pub port: i32,
        /// Its settings.
        pub tls: Option<FrontendTls>,
    }

    /// TLS towards clients.
    pub struct FrontendTls {
        /// What clients must show.
        pub validation: Option<FrontendTlsValidation>,
    }

    /// What clients must show.
    pub struct FrontendTlsValidation {
        /// Whose certificates are trusted.
        #[serde(rename = "caCertificateRefs")]
        pub ca_certificate_refs: Vec<ObjectReference>,
        /// `AllowValidOnly` (the default) or `AllowInsecureFallback`.
        pub mode: Option<String>,
    }
}
