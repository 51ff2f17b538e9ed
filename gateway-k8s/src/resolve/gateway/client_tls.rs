//! TLS of a Gateway's connections to backends: its client certificate, and the limits of its
//! EnvoyProxy (`backendTLS`).

use std::sync::Arc;

use towergate_core::plan::{Backend, Destination, Filter, WeightedBackend};
use towergate_policy::envoy_proxy::BackendTlsLimits;
use towergate_tls::client::ClientTls;

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use super::backend_client_cert::BackendClientCert;
use super::parameters;
use crate::api::gateway::GatewaySpec;
use crate::finding::FindingCode;
use crate::objects::Object;
use crate::status::{Conditions, GatewayReason};

/// Settings that apply to all TLS backends of a Gateway.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct GatewayClientTls {
    certificate: BackendClientCert,
    limits: BackendTlsLimits,
}

impl GatewayClientTls {
    /// Resolves the settings, and sets `ResolvedRefs` of the Gateway. If the settings cannot be applied, TLS
    /// backends are unavailable.
    pub(super) fn find(
        index: &ObjectIndex<'_>,
        gateway: &Object<GatewaySpec>,
        conditions: &mut Conditions<GatewayReason>,
        report: &mut Report,
        subject: &Subject<'_>,
    ) -> Self {
        let certificate = BackendClientCert::find(index, gateway, conditions, report, subject);
        let section = match parameters::gateway_parameters(index.objects, gateway) {
            Ok(found) => found.and_then(|found| found.backend_tls.clone()),
            // The EnvoyProxy is missing or invalid, so its limits are unknown.
            Err(_) => return Self::of(BackendClientCert::Unusable),
        };
        let limits = section.map_or(Ok(BackendTlsLimits::default()), |tls| tls.limits());
        match limits {
            Ok(limits) => Self {
                certificate,
                limits,
            },
            Err(error) => {
                let message = format!("EnvoyProxy: {error}");
                let names = (
                    GatewayReason::InvalidParameters,
                    FindingCode::ParametersInvalid,
                );
                Self::of(BackendClientCert::refuse(
                    names, message, conditions, report, subject,
                ))
            }
        }
    }

    fn of(certificate: BackendClientCert) -> Self {
        Self {
            certificate,
            limits: BackendTlsLimits::default(),
        }
    }

    /// Whether the Gateway has no settings for TLS backends. The settings of the backends then apply
    /// unchanged.
    pub(in super::super) fn is_none(&self) -> bool {
        self.certificate.is_none() && self.limits.is_default()
    }

    /// Applies the settings to TLS backends of `backends` and of mirrors in `filters`.
    pub(in super::super) fn apply(
        &self,
        filters: &mut Vec<Filter>,
        backends: &mut [WeightedBackend],
    ) {
        if self.is_none() {
            return;
        }
        self.apply_to_mirrors(filters);
        for weighted in backends {
            self.apply_to_mirrors(&mut weighted.filters);
            if let Destination::Backend(backend) = &weighted.destination {
                let applied = self.backend(backend);
                weighted.destination = applied.map_or(Destination::Invalid, Destination::Backend);
            }
        }
    }

    fn apply_to_mirrors(&self, filters: &mut Vec<Filter>) {
        filters.retain_mut(|filter| {
            let Filter::Mirror(mirror) = filter else {
                return true;
            };
            let applied = self.backend(&mirror.backend);
            applied.map(|backend| mirror.backend = backend).is_some()
        });
    }

    /// The backend with the settings of the Gateway. A backend without TLS is returned unchanged. `None`: the
    /// Gateway must not connect to the backend.
    fn backend(&self, backend: &Arc<Backend>) -> Option<Arc<Backend>> {
        let Some(tls) = &backend.tls else {
            return Some(backend.clone());
        };
        let restricted = self.limits.restrict(tls)?;
        let tls = match &self.certificate {
            BackendClientCert::Unusable => return None,
            BackendClientCert::None => restricted,
            BackendClientCert::Certificate(certificate) => ClientTls {
                identity: Some(certificate.clone()),
                ..restricted
            },
        };
        Some(Arc::new(Backend {
            tls: Some(Arc::new(tls)),
            ..Backend::clone(backend)
        }))
    }
}

#[cfg(test)]
mod tests {
    use towergate_tls::limits::TlsVersion;

    use super::*;
    use crate::decode::decode;
    use crate::{ResolveOptions, resolve};

    /// A Gateway with an EnvoyProxy, and a route to a TLS backend.
    fn manifests(backend_tls: &str) -> String {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: g, namespace: d}}
spec:
  gatewayClassName: eg
  listeners: [{{name: a, port: 80, protocol: HTTP}}]
  infrastructure: {{parametersRef: {{group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p}}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {{name: p, namespace: d}}
spec: {{backendTLS: {backend_tls}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r, namespace: d}}
spec:
  parentRefs: [{{name: g}}]
  rules: [{{backendRefs: [{{name: s, port: 443}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: t, namespace: d}}
spec:
  targetRefs: [{{group: '', kind: Service, name: s}}]
  validation: {{hostname: s.test, wellKnownCACertificates: System}}
---
apiVersion: v1
kind: Service
metadata: {{name: s, namespace: d}}
spec: {{ports: [{{port: 443}}]}}
"
        )
    }

    /// TLS of the connections to the backend, and reason and message of a false `ResolvedRefs`.
    fn resolved(backend_tls: &str) -> (Option<ClientTls>, Option<String>) {
        let objects = decode("a.yaml", &manifests(backend_tls)).objects;
        let resolution = resolve(&objects, &ResolveOptions::default());
        let ports = &resolution.plan.ports;
        assert!(
            !ports.is_empty(),
            "{backend_tls}: {:?}",
            resolution.diagnostics
        );
        let rule = &ports[0].listeners[0].routes[0].rules[0];
        let tls = match &rule.backends[0].destination {
            Destination::Backend(backend) => backend.tls.as_deref().cloned(),
            _ => None,
        };
        let gateway = resolution.statuses.0.into_iter();
        let mut gateway = gateway.filter(|(key, _)| key.kind == "Gateway");
        let (_, status) = gateway.next().expect("a status");
        let conditions = status["conditions"].as_array().cloned();
        let mut conditions = conditions.into_iter().flatten();
        let refs = conditions.find(|one| one["type"] == "ResolvedRefs" && one["status"] == "False");
        let message = refs.map(|one| format!("{}: {}", one["reason"], one["message"]));
        (tls, message)
    }

    #[test]
    fn limits_of_the_envoy_proxy_apply_to_its_tls_backends() {
        let (tls, error) = resolved("{minVersion: '1.3', ecdhCurves: [P-256]}");

        let tls = tls.expect("the backend is reached");
        assert_eq!(tls.limits.min_version, TlsVersion::Tls13);
        assert_eq!(tls.limits.groups, ["P-256"]);
        assert_eq!(tls.server_name, "s.test");
        assert_eq!(error, None);
    }

    #[test]
    fn a_limit_that_is_not_supported_makes_tls_backends_unavailable_and_is_named() {
        for (section, field) in [
            (
                "{signatureAlgorithms: [rsa_pkcs1_sha1]}",
                "signatureAlgorithms",
            ),
            ("{minVersion: '1.0'}", "minVersion"),
            ("{minVersion: '1.2', ciphers: [NULL-MD5]}", "ciphers[0]"),
        ] {
            let (tls, error) = resolved(section);

            assert!(tls.is_none());
            let error = error.expect("a condition");
            assert!(error.contains("InvalidParameters"), "{error}");
            assert!(
                error.contains(&format!("spec.backendTLS.{field}")),
                "{error}"
            );
        }
    }
}
