//! Backends of rules: ports of Services, and Backends if a Service cannot express a setting.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ANSWER, Translator};
use crate::ingress::servers::BackendPort;
use crate::ingress::settings::{BackendProtocol, IngressSettings, ProxySsl};
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
        if external.is_some() && self.config.disables_external_names() {
            let text = "Services of type ExternalName are disabled (`--disable-svc-external-name`): the path returns 500, in ingress-nginx 503";
            self.field_of(ingress, "spec.rules", Finding::differs(text, ANSWER));
            // A Service of this type is an invalid backend of a route.
            return self.service_ref(service, port, ingress);
        }
        let tls = settings.backend.has_tls();
        let grpc = matches!(
            settings.backend.protocol,
            BackendProtocol::Grpc | BackendProtocol::Grpcs
        );
        if let Some(ssl) = settings.backend.verified()
            && external.is_none()
            && self.verified_backend(service, ssl, comments)
        {
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
        let namespace = namespace.clone();
        let name = format!("{}-{port}{suffix}", service.name);
        // Ingresses with other TLS settings for the port have their own Backends.
        let key = self.equal_or_new("Backend", &namespace, &name, spec, comments);
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

    /// Writes a BackendTLSPolicy for the Service. `false`: the Service already has another BackendTLSPolicy,
    /// or the CA certificates are in another namespace, to which a BackendTLSPolicy cannot refer.
    fn verified_backend(
        &mut self,
        service: &ObjectKey,
        ssl: &ProxySsl,
        comments: &BTreeSet<String>,
    ) -> bool {
        let default = || format!("{}.{}.{CLUSTER}", service.name, service.namespace);
        let hostname = ssl.name.clone().unwrap_or_else(default);
        let spec = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": service.name}],
            "validation": {
                "caCertificateRefs": [{"group": "", "kind": "Secret", "name": ssl.secret.name}],
                "hostname": hostname,
            },
        });
        let kind = "BackendTLSPolicy";
        let existing = self.output.find(kind, service);
        if ssl.secret.namespace != service.namespace
            || existing.is_some_and(|object| object.value["spec"] != spec)
        {
            return false;
        }
        self.output.add(kind, service, spec, comments);
        true
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
    let grpc = matches!(
        backend.protocol,
        BackendProtocol::Grpc | BackendProtocol::Grpcs
    );
    match backend.verified() {
        Some(ssl) => {
            let reference = json!({"group": "", "kind": "Secret", "name": ssl.secret.name});
            let name = ssl.name.as_deref().unwrap_or(host);
            spec["tls"] = json!({"caCertificateRefs": [reference], "sni": name});
        }
        None if backend.has_tls() => spec["tls"] = json!({"insecureSkipVerify": true}),
        None => {}
    }
    if grpc {
        spec["appProtocols"] = json!(["gateway.envoyproxy.io/h2c"]);
    }
    spec
}
