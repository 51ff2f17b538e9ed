//! `default-backend`: the Service that receives requests while the Service of a path has no endpoints.
//!
//! The rule of the path gets a second backendRef: a Backend with `fallback: true`. Only requests to this
//! Backend have the header fields with which ingress-nginx describes the missing backend.

use serde_json::{Value, json};

use super::Translator;
use super::backends::{CLUSTER, ENVOY, backend_spec};
use super::locations::LocationSource;
use crate::ingress::servers::{BackendPort, Location};
use crate::ingress::settings::{BackendProtocol, IngressSettings};
use crate::ingress::verdict::{Aspect, Finding};

impl Translator<'_> {
    /// The backendRef of `default-backend` for requests to `backend`. `settings` are those of the backend. `None`: the
    /// location has no fallback.
    pub(super) fn fallback_ref(
        &mut self,
        location: &Location,
        backend: &BackendPort,
        source: &LocationSource,
        settings: &IngressSettings,
    ) -> Option<Value> {
        let service = self.servers.default_backend(location)?;
        let known = self.manifests.services.get(&service);
        let port = known.and_then(|known| known.ports.first());
        let port = port.map_or(80, |port| port.port);
        let external = known.and_then(|known| known.external_name.clone());
        if external.is_some() && self.config.disables_external_names() {
            return None;
        }
        let host =
            external.unwrap_or_else(|| format!("{}.{}.{CLUSTER}", service.name, service.namespace));
        let mut spec = backend_spec(&host, port, settings);
        spec["fallback"] = true.into();
        let suffix = match settings.backend.protocol {
            BackendProtocol::Http | BackendProtocol::Fcgi => "",
            BackendProtocol::Grpc => "-grpc",
            BackendProtocol::Https | BackendProtocol::Grpcs => "-tls",
        };
        let name = format!("{}-{port}{suffix}-fallback", service.name);
        let key = self.equal_or_new("Backend", &service.namespace, &name, spec, &source.comments);
        let fields: Vec<Value> = [
            ("X-Code", "503"),
            ("X-Format", "%REQ(ACCEPT)%"),
            ("X-Namespace", &source.key.namespace),
            ("X-Ingress-Name", &source.key.name),
            ("X-Service-Name", &backend.service.name),
            ("X-Service-Port", &backend.port),
        ]
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
        let filter =
            json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": fields}});
        self.canary_without_fallback(location, source);
        Some(json!({"group": ENVOY, "kind": "Backend", "name": key.name, "filters": [filter]}))
    }

    /// Reports a difference of canaries by weight: the gateway uses the fallback only while neither Service
    /// has ready endpoints.
    fn canary_without_fallback(&mut self, location: &Location, source: &LocationSource) {
        let weight = location.canary.as_ref().map(|canary| {
            let canary = &canary.canary;
            canary.weight > 0 && canary.weight < canary.total
        });
        if weight == Some(true) {
            let text = "a Backend with `fallback: true`. On paths with a canary by weight, it receives requests only while neither Service has ready endpoints";
            let affects = &[
                Aspect::Status,
                Aspect::Body,
                Aspect::Calls,
                Aspect::ResponseHeaders,
            ];
            let finding = Finding::differs(text, affects);
            self.replace_verdict(source.ingress, "default-backend", finding);
        }
    }
}
