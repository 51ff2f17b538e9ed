//! Routes of TLS passthrough, `tcp-services` and `udp-services`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Translator;
use crate::objects::ObjectKey;

impl Translator<'_> {
    /// Writes TLSRoutes, TCPRoutes and UDPRoutes.
    pub(crate) fn streams(&mut self) {
        let servers = self.servers.servers.clone();
        for server in &servers {
            let Some(ingress) = server.passthrough else {
                continue;
            };
            let root = server
                .locations
                .iter()
                .find(|location| location.path == "/");
            let Some(backend) = root.and_then(|location| location.backend.clone()) else {
                continue;
            };
            let read = self.servers.ingresses[ingress].clone();
            let reference =
                self.backend_ref(&backend, ingress, &Default::default(), &BTreeSet::new());
            let name = self.host_slugs.of(&server.host);
            let spec = json!({
                "parentRefs": [self.parent(Some(&format!("tls-{name}")))],
                "hostnames": [server.host],
                "rules": [{"backendRefs": [reference]}],
            });
            let key = ObjectKey::new(&*read.ingress.key.namespace, name);
            let why = BTreeSet::from([format!("Ingress {}: ssl-passthrough", read.ingress.key)]);
            self.output.add("TLSRoute", &key, spec, &why);
            self.namespaces.insert(key.namespace);
        }
        for exposed in self.exposed() {
            let section = exposed.section();
            if exposed.decodes {
                self.decode_proxy_header(&section);
            }
            let port = exposed.backend.port.parse::<u16>().unwrap_or_else(|_| {
                let service = self.manifests.services.get(&exposed.backend.service);
                let ports = service
                    .map(|service| service.ports.as_slice())
                    .unwrap_or_default();
                let named = ports
                    .iter()
                    .find(|p| p.name.as_deref() == Some(&*exposed.backend.port));
                named.map_or(80, |port| port.port)
            });
            let spec = json!({
                "parentRefs": [self.parent(Some(&section))],
                "rules": [{"backendRefs": [{"name": exposed.backend.service.name, "port": port}]}],
            });
            let key = ObjectKey::new(&*exposed.backend.service.namespace, section);
            let kind = if exposed.kind == "TCP" {
                "TCPRoute"
            } else {
                "UDPRoute"
            };
            let why = BTreeSet::from([format!("{}-services", exposed.kind.to_ascii_lowercase())]);
            self.output.add(kind, &key, spec, &why);
            self.namespaces.insert(key.namespace);
        }
    }

    /// Writes a ClientTrafficPolicy that requires a PROXY header on the connections of a listener.
    fn decode_proxy_header(&mut self, section: &str) {
        let gateway = self.options.gateway.clone();
        let spec = json!({
            "targetRefs": [{
                "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway.name,
                "sectionName": section,
            }],
            "proxyProtocol": {"optional": false},
        });
        let key = ObjectKey::new(gateway.namespace, format!("{}-{section}", gateway.name));
        let why = BTreeSet::from(["tcp-services with PROXY".to_owned()]);
        self.output.add("ClientTrafficPolicy", &key, spec, &why);
    }

    /// Listeners of `tcp-services` and `udp-services`.
    pub(crate) fn stream_listeners(&self, access: &Value) -> Vec<Value> {
        let exposed = self.exposed().into_iter();
        exposed
            .map(|exposed| {
                json!({
                    "name": exposed.section(),
                    "port": exposed.port,
                    "protocol": exposed.kind,
                    "allowedRoutes": access,
                })
            })
            .collect()
    }
}
