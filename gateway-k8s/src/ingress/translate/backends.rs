//! Backends of rules: ports of Services, and Backends if a Service cannot express a setting.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ANSWER, Translator};
use crate::ingress::servers::BackendPort;
use crate::ingress::settings::{BackendProtocol, IngressSettings};
use crate::ingress::verdict::{Aspect, Finding};
use crate::objects::ObjectKey;

/// API group of Envoy Gateway.
pub(crate) const ENVOY: &str = "gateway.envoyproxy.io";

/// Domain of Services.
pub(super) const CLUSTER: &str = "svc.cluster.local";

impl Translator<'_> {
    /// A reference to a backend of an Ingress.
    pub(crate) fn backend_ref(
        &mut self,
        backend: &BackendPort,
        ingress: usize,
        settings: &IngressSettings,
        comments: &BTreeSet<String>,
    ) -> Value {
        let port = self.port_number(backend, ingress);
        let service = &backend.service;
        let external = self
            .manifests
            .services
            .get(service)
            .filter(|spec| spec.kind.as_deref() == Some("ExternalName"))
            .and_then(|spec| spec.external_name.clone());
        let tls = matches!(
            settings.backend.protocol,
            BackendProtocol::Https | BackendProtocol::Grpcs
        );
        let grpc = matches!(
            settings.backend.protocol,
            BackendProtocol::Grpc | BackendProtocol::Grpcs
        );
        let verified = settings.backend.ca_secret.clone();
        if let Some(ca) = verified.filter(|_| tls && external.is_none()) {
            self.verified_backend(service, &ca, settings, comments);
            return self.service_ref(service, port, ingress);
        }
        if external.is_none() && !tls && !grpc {
            return self.service_ref(service, port, ingress);
        }
        if external.is_some() {
            let text = "a Service of type ExternalName becomes a Backend with its host name, which the gateway resolves";
            self.field_of(ingress, "spec.rules", Finding::differs(text, ANSWER));
        }
        let host =
            external.unwrap_or_else(|| format!("{}.{}.{CLUSTER}", service.name, service.namespace));
        let spec = backend_spec(&host, port, settings);
        let suffix = match (tls, grpc) {
            (true, _) => "-tls",
            (false, true) => "-grpc",
            (false, false) => "",
        };
        let namespace = &self.servers.ingresses[ingress].ingress.key.namespace;
        let key = ObjectKey::new(&**namespace, format!("{}-{port}{suffix}", service.name));
        self.output.add("Backend", &key, spec, comments);
        json!({"group": ENVOY, "kind": "Backend", "name": key.name})
    }

    fn service_ref(&mut self, service: &ObjectKey, port: u16, ingress: usize) -> Value {
        let namespace = self.servers.ingresses[ingress]
            .ingress
            .key
            .namespace
            .clone();
        let mut reference = json!({"name": service.name, "port": port});
        if service.namespace != namespace {
            reference["namespace"] = service.namespace.clone().into();
            let from = ("gateway.networking.k8s.io", "HTTPRoute", namespace.as_str());
            self.permit(from, ("Service", service));
        }
        reference
    }

    /// Writes a BackendTLSPolicy for the Service.
    fn verified_backend(
        &mut self,
        service: &ObjectKey,
        ca: &ObjectKey,
        settings: &IngressSettings,
        comments: &BTreeSet<String>,
    ) {
        let hostname = settings
            .backend
            .server_name
            .clone()
            .unwrap_or_else(|| format!("{}.{}.{CLUSTER}", service.name, service.namespace));
        // A BackendTLSPolicy can refer only to objects of its own namespace.
        let spec = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": service.name}],
            "validation": {
                "caCertificateRefs": [{"group": "", "kind": "Secret", "name": ca.name}],
                "hostname": hostname,
            },
        });
        self.output.add("BackendTLSPolicy", service, spec, comments);
    }

    /// The number of a port. A name is looked up in the Service.
    pub(super) fn port_number(&mut self, backend: &BackendPort, ingress: usize) -> u16 {
        if let Ok(number) = backend.port.parse() {
            return number;
        }
        let service = self.manifests.services.get(&backend.service);
        let found = service.and_then(|service| {
            let named = |name: &Option<String>| name.as_deref() == Some(&*backend.port);
            let by_name = service.ports.iter().find(|port| named(&port.name));
            by_name.or_else(|| service.ports.first().filter(|_| backend.port.is_empty()))
        });
        if let Some(port) = found {
            return port.port;
        }
        let port = match backend.port.as_str() {
            "" => "a port".to_owned(),
            name => format!("port `{name}`"),
        };
        let text = format!(
            "the files do not define {port} of Service {}; 80 is used: set the port number",
            backend.service
        );
        self.field_of(
            ingress,
            "spec.rules",
            Finding::decision(
                text,
                &[
                    Aspect::Status,
                    Aspect::Calls,
                    Aspect::Body,
                    Aspect::ResponseHeaders,
                ],
            ),
        );
        80
    }

    /// A reference to the Service or Backend of a URL, for policies of `namespace`.
    pub(crate) fn url_backend(
        &mut self,
        url: &crate::ingress::value::UrlParts,
        kind: (&'static str, &'static str, &str),
        name: &str,
        comments: &BTreeSet<String>,
    ) -> Value {
        let port = url.effective_port();
        let service = self.service_of_host(&url.host, port);
        let namespace = kind.2.to_owned();
        if let Some((service, port)) = service.filter(|_| url.scheme == "http") {
            let mut reference = json!({"name": service.name, "port": port});
            if service.namespace != namespace {
                reference["namespace"] = service.namespace.clone().into();
                self.permit(kind, ("Service", &service));
            }
            return reference;
        }
        let endpoint = match url.host.parse::<std::net::IpAddr>() {
            Ok(address) => json!({"ip": {"address": address, "port": port}}),
            Err(_) => json!({"fqdn": {"hostname": url.host, "port": port}}),
        };
        let mut spec = json!({"endpoints": [endpoint]});
        if url.scheme == "https" {
            spec["tls"] = json!({"wellKnownCACertificates": "System", "sni": url.host});
        }
        let key = ObjectKey::new(namespace, name);
        self.output.add("Backend", &key, spec, comments);
        json!({"group": ENVOY, "kind": "Backend", "name": key.name})
    }

    /// The Service and port of a host name in the cluster, or of an address.
    fn service_of_host(&self, host: &str, port: u16) -> Option<(ObjectKey, u16)> {
        if let Some(key) = self.manifests.service_of_address(host) {
            // The port of an endpoint may differ from the port of its Service.
            let ports = &self.manifests.services.get(key)?.ports;
            let same = ports.iter().find(|known| known.port == port);
            return Some((key.clone(), same.or_else(|| ports.first())?.port));
        }
        let host = host.strip_suffix(".cluster.local").unwrap_or(host);
        let host = host.strip_suffix(".svc")?;
        let (name, namespace) = host.split_once('.')?;
        (!namespace.contains('.')).then(|| (ObjectKey::new(namespace, name), port))
    }
}

/// `spec` of a Backend with the protocol and the TLS settings of an Ingress.
pub(super) fn backend_spec(host: &str, port: u16, settings: &IngressSettings) -> Value {
    let mut spec = json!({"endpoints": [{"fqdn": {"hostname": host, "port": port}}]});
    let backend = &settings.backend;
    let (tls, grpc) = match backend.protocol {
        BackendProtocol::Http | BackendProtocol::Fcgi => (false, false),
        BackendProtocol::Https => (true, false),
        BackendProtocol::Grpc => (false, true),
        BackendProtocol::Grpcs => (true, true),
    };
    match &backend.ca_secret {
        Some(ca) if tls => {
            let reference = json!({"group": "", "kind": "Secret", "name": ca.name});
            let name = backend.server_name.as_deref().unwrap_or(host);
            spec["tls"] = json!({"caCertificateRefs": [reference], "sni": name});
        }
        None if tls => spec["tls"] = json!({"insecureSkipVerify": true}),
        Some(_) | None => {}
    }
    if grpc {
        spec["appProtocols"] = json!(["gateway.envoyproxy.io/h2c"]);
    }
    spec
}
