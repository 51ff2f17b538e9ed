//! Routes of TLS passthrough, `tcp-services` and `udp-services`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Translator;
use crate::ingress::controller::object_key;
use crate::ingress::servers::BackendPort;
use crate::ingress::verdict::{Aspect, Finding, MigrationVerdict, SettingKind};
use crate::objects::ObjectKey;

/// A port of the controller that forwards to a Service.
struct Exposed {
    kind: &'static str,
    port: u16,
    backend: BackendPort,
}

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
            let section = format!("{}-{}", exposed.kind.to_ascii_lowercase(), exposed.port);
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

    /// Listeners of `tcp-services` and `udp-services`.
    pub(crate) fn stream_listeners(&self, access: &Value) -> Vec<Value> {
        let exposed = self.exposed().into_iter();
        exposed
            .map(|exposed| {
                json!({
                    "name": format!("{}-{}", exposed.kind.to_ascii_lowercase(), exposed.port),
                    "port": exposed.port,
                    "protocol": exposed.kind,
                    "allowedRoutes": access,
                })
            })
            .collect()
    }

    /// The entries of both ConfigMaps: `PORT: NAMESPACE/SERVICE:PORT[:PROXY][:PROXY]`.
    fn exposed(&self) -> Vec<Exposed> {
        let mut all = Vec::new();
        for (kind, flag) in [
            ("TCP", "tcp-services-configmap"),
            ("UDP", "udp-services-configmap"),
        ] {
            let Some(name) = self.config.flag(flag) else {
                continue;
            };
            let data = self
                .manifests
                .config_maps
                .get(&object_key(name, "ingress-nginx"));
            for (port, written) in data.into_iter().flat_map(|data| &data.values) {
                let mut parts = written.text.split(':');
                let service = parts.next().unwrap_or_default();
                let target = parts.next().unwrap_or_default();
                if let Ok(port) = port.parse() {
                    all.push(Exposed {
                        kind,
                        port,
                        backend: BackendPort {
                            service: object_key(service, "default"),
                            port: target.to_owned(),
                        },
                    });
                }
            }
        }
        all
    }

    /// Adds the verdicts on the entries of `tcp-services` and `udp-services`.
    pub(crate) fn stream_verdicts(&mut self) {
        for flag in ["tcp-services-configmap", "udp-services-configmap"] {
            let Some(name) = self.config.flag(flag) else {
                continue;
            };
            let key = object_key(name, "ingress-nginx");
            let Some(data) = self.manifests.config_maps.get(&key) else {
                continue;
            };
            let kind = flag.trim_end_matches("-configmap");
            for (port, written) in &data.values {
                let finding = if written.text.contains("PROXY") {
                    Finding::impossible(
                        "the PROXY protocol of the entry is not translated: set `proxyProtocol` in a ClientTrafficPolicy of the listener to decode it; it is not sent to the backend",
                        &[Aspect::Status, Aspect::Body, Aspect::Calls],
                    )
                } else {
                    Finding::differs(
                        "a listener and a route, which need the experimental channel of Gateway API; open the port on the load balancer",
                        &[],
                    )
                };
                self.verdicts.push(MigrationVerdict {
                    object: format!("ConfigMap {key}"),
                    kind: SettingKind::ConfigKey,
                    setting: format!("{kind} {port}"),
                    value: written.text.clone(),
                    place: crate::ingress::verdict::SourcePlace {
                        file: data.file.to_string(),
                        line: written.line,
                    },
                    outcome: finding.outcome,
                    text: finding.text,
                    affects: finding.affects,
                    example: None,
                });
            }
        }
    }
}
