//! Issuers and Certificates of cert-manager.

use std::collections::{BTreeSet, HashSet};

use serde_json::json;

use super::Translator;
use crate::ingress::verdict::{Finding, MigrationVerdict, SettingKind};
use crate::objects::ObjectKey;

impl Translator<'_> {
    /// Rewrites HTTP-01 solvers: they use the Gateway instead of an Ingress.
    pub(crate) fn cert_manager(&mut self) {
        for issuer in &self.manifests.issuers {
            let mut value = issuer.value.clone();
            let mut changed = false;
            let solvers = value["spec"]["acme"]["solvers"].as_array_mut();
            for solver in solvers.into_iter().flatten() {
                if solver["http01"]["ingress"].is_object() {
                    let gateway = &self.options.gateway;
                    solver["http01"] = json!({"gatewayHTTPRoute": {"parentRefs": [{
                        "group": "gateway.networking.k8s.io",
                        "kind": "Gateway",
                        "name": gateway.name,
                        "namespace": gateway.namespace,
                        "sectionName": "http",
                    }]}});
                    changed = true;
                }
            }
            if !changed {
                continue;
            }
            if let Some(status) = value.as_object_mut() {
                status.remove("status");
            }
            let key = match issuer.kind.as_str() {
                "ClusterIssuer" => ObjectKey::new("", &*issuer.key.name),
                _ => issuer.key.clone(),
            };
            self.verdicts.push(MigrationVerdict {
                object: format!("{} {}", issuer.kind, key),
                kind: SettingKind::Field,
                setting: "spec.acme.solvers[].http01.ingress".to_owned(),
                value: String::new(),
                place: issuer.place.clone(),
                outcome: crate::ingress::verdict::MigrationOutcome::Same,
                text: "`http01.gatewayHTTPRoute` with the shared Gateway. Apply it after DNS points at the Gateway".to_owned(),
                affects: Vec::new(),
                example: None,
            });
            let why = BTreeSet::from([format!("{}:{}", issuer.place.file, issuer.place.line)]);
            self.output.add_value(&issuer.kind, &key, value, &why);
        }
        self.annotated_issuers();
    }

    /// Certificates that cert-manager creates for Ingresses with an annotation.
    fn annotated_issuers(&mut self) {
        let written: HashSet<(&str, &str)> = self
            .manifests
            .certificates
            .iter()
            .filter_map(|certificate| {
                let secret = certificate.value["spec"]["secretName"].as_str()?;
                Some((certificate.key.namespace.as_str(), secret))
            })
            .collect();
        for number in 0..self.servers.ingresses.len() {
            let ingress = self.servers.ingresses[number].ingress;
            let annotation = |name: &str| ingress.annotations.get(name).map(|w| w.text.clone());
            let issuer = annotation("cert-manager.io/cluster-issuer")
                .map(|name| ("ClusterIssuer", name))
                .or_else(|| annotation("cert-manager.io/issuer").map(|name| ("Issuer", name)));
            let Some((kind, issuer)) = issuer else {
                continue;
            };
            for tls in &ingress.spec.tls {
                let Some(secret) = &tls.secret_name else {
                    continue;
                };
                if written.contains(&(ingress.key.namespace.as_str(), secret.as_str())) {
                    continue;
                }
                let spec = json!({
                    "secretName": secret,
                    "issuerRef": {"name": issuer, "kind": kind},
                    "dnsNames": tls.hosts,
                });
                let key = ObjectKey::new(&*ingress.key.namespace, &**secret);
                let why = BTreeSet::from([format!(
                    "Ingress {}: cert-manager created it from the annotation",
                    ingress.key
                )]);
                self.output.add("Certificate", &key, spec, &why);
            }
            let text = "a Certificate for each TLS section replaces the one that cert-manager created from the annotation. Remove its owner reference before the Ingress is deleted";
            self.field_of(number, "cert-manager.io annotations", Finding::same(text));
        }
    }
}
