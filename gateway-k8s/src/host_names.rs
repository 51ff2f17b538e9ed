//! Host names that the data plane looks up: those of Backends, and of URLs in SecurityPolicies without `backendRefs`.
//!
//! ```
//! use towergate_k8s::decode::decode;
//! use towergate_k8s::host_names;
//!
//! let objects = decode(
//!     "backend.yaml",
//!     "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: api, namespace: shop}\n\
//!      spec: {endpoints: [{fqdn: {hostname: api.example.com, port: 443}}]}\n",
//! )
//! .objects;
//!
//! assert!(host_names::all(&objects).contains("api.example.com"));
//! let unresolved = host_names::unresolved(&objects, |_| Some("the name does not exist".to_owned()));
//! assert_eq!(unresolved[0].field, "spec.endpoints[0].fqdn.hostname");
//! ```

use std::collections::BTreeSet;

use http::Uri;
use towergate_policy::SecurityPolicySpec;
use towergate_policy::backend::BackendSpec;

use crate::decode::Diagnostic;
use crate::finding::FindingCode;
use crate::objects::{ObjectKey, Objects};

/// A host name in a field.
struct HostName {
    field: String,
    /// Host name in lower case, without a dot at the end.
    host: String,
    /// Effect of an unresolved name, as a clause of a message.
    effect: &'static str,
}

/// All host names, in lower case. IP addresses are left out.
pub fn all(objects: &Objects) -> BTreeSet<String> {
    let backends = objects.backends.values();
    let backends = backends.flat_map(|backend| of_backend(&backend.spec));
    let policies = objects.security_policies.values();
    let policies = policies.flat_map(|policy| of_policy(&policy.spec));
    backends.chain(policies).map(|name| name.host).collect()
}

/// A warning for each field whose host has no address; `reason` returns the cause, or `None` for a host with an
/// address.
pub fn unresolved(objects: &Objects, reason: impl Fn(&str) -> Option<String>) -> Vec<Diagnostic> {
    let warning = |name: &HostName| {
        let reason = reason(&name.host)?;
        let message = format!(
            "host {:?} cannot be resolved: {reason}; {}",
            name.host, name.effect
        );
        let help = FindingCode::HostUnresolved.advice();
        Some(Diagnostic::warning(
            FindingCode::HostUnresolved,
            message,
            help,
        ))
    };
    let mut found = Vec::new();
    for backend in objects.backends.values() {
        let names = of_backend(&backend.spec);
        let warnings = names.filter_map(|name| Some((warning(&name)?, name.field)));
        found.extend(warnings.map(|(warning, field)| warning.at("Backend", backend, field)));
    }
    for policy in objects.security_policies.values() {
        let names = of_policy(&policy.spec).into_iter();
        let warnings = names.filter_map(|name| Some((warning(&name)?, name.field)));
        found.extend(warnings.map(|(warning, field)| warning.at("SecurityPolicy", policy, field)));
    }
    found
}

/// Warnings about names that have no address in any network: names below `invalid` (RFC 6761, section 6.4), and names
/// of Services of the cluster that do not exist.
pub(crate) fn never_resolved(objects: &Objects) -> Vec<Diagnostic> {
    unresolved(objects, |host| {
        if host == "invalid" || host.ends_with(".invalid") {
            return Some("names below \"invalid\" never have an address (RFC 6761)".to_owned());
        }
        let service = service_of(host)?;
        let missing = !objects.services.contains_key(&service);
        missing.then(|| format!("Service {service} does not exist"))
    })
}

/// The Service with this name in the DNS of a cluster: `NAME.NAMESPACE.svc`, with or without `.cluster.local`.
fn service_of(host: &str) -> Option<ObjectKey> {
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let (name, namespace) = host.strip_suffix(".svc")?.split_once('.')?;
    // A name with more labels is the name of a pod of a headless Service.
    (!namespace.contains('.')).then(|| ObjectKey::new(namespace, name))
}

fn of_backend(spec: &BackendSpec) -> impl Iterator<Item = HostName> {
    let endpoints = spec.endpoints.iter().flatten().enumerate();
    endpoints.filter_map(|(at, endpoint)| {
        let host = endpoint.fqdn.as_ref()?.hostname.as_deref()?;
        let field = format!("spec.endpoints[{at}].fqdn.hostname");
        HostName::new(field, host, "requests to it get 503")
    })
}

/// The host names in URLs that the gateway calls. URLs with `backendRefs` are left out, because their
/// backends are called instead.
fn of_policy(spec: &SecurityPolicySpec) -> Vec<HostName> {
    let mut names = Vec::new();
    let mut add = |field: String, url: &Option<String>, effect| {
        let uri = url.as_ref().and_then(|url| url.parse::<Uri>().ok());
        let host = uri.as_ref().and_then(Uri::host);
        names.extend(host.and_then(|host| HostName::new(field, host, effect)));
    };
    let provider = spec.oidc.as_ref().and_then(|oidc| oidc.provider.as_ref());
    if let Some(provider) = provider.filter(|provider| provider.backend_refs.is_none()) {
        const NO_LOGIN: &str = "no login can complete";
        let discovers =
            provider.authorization_endpoint.is_none() || provider.token_endpoint.is_none();
        if discovers {
            add(
                "spec.oidc.provider.issuer".to_owned(),
                &provider.issuer,
                NO_LOGIN,
            );
        }
        let field = "spec.oidc.provider.tokenEndpoint".to_owned();
        add(field, &provider.token_endpoint, NO_LOGIN);
    }
    let providers = spec.jwt.as_ref().and_then(|jwt| jwt.providers.as_ref());
    for (at, provider) in providers.into_iter().flatten().enumerate() {
        let remote = provider.remote_jwks.as_ref();
        if let Some(remote) = remote.filter(|remote| remote.backend_refs.is_none()) {
            let field = format!("spec.jwt.providers[{at}].remoteJWKS.uri");
            add(field, &remote.uri, "no token can be verified");
        }
    }
    names
}

impl HostName {
    /// Creates the host name; `None` if `host` is an IP address.
    fn new(field: String, host: &str, effect: &'static str) -> Option<Self> {
        let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        (!is_address).then_some(Self {
            field,
            host,
            effect,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    const OBJECTS: &str = r#"
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: login, namespace: d}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  oidc:
    provider: {issuer: "https://Op.invalid/realm", tokenEndpoint: "https://keys.auth.svc.cluster.local/token"}
    clientID: c
    clientSecret: {name: s}
  jwt:
    providers:
    - {name: named, remoteJWKS: {uri: "https://keys.auth.svc/keys"}}
    - {name: address, remoteJWKS: {uri: "https://[::1]/keys"}}
    - {name: referenced, remoteJWKS: {uri: "https://op.invalid/keys", backendRefs: [{name: keys, port: 80}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: api, namespace: d}
spec: {endpoints: [{ip: {address: 192.0.2.1, port: 80}}, {fqdn: {hostname: api.example.com., port: 443}}]}
"#;
    const SERVICE: &str =
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: keys, namespace: auth}\n";

    #[test]
    fn hosts_are_those_that_the_gateway_itself_calls() {
        let objects = decode("in.yaml", OBJECTS).objects;

        let all = all(&objects);

        let expected = [
            "api.example.com",
            "keys.auth.svc",
            "keys.auth.svc.cluster.local",
            "op.invalid",
        ];
        assert!(all.iter().map(String::as_str).eq(expected), "{all:?}");
    }

    #[test]
    fn names_without_an_address_in_any_network_are_reported_with_field_and_effect() {
        for (objects, fields) in [
            (
                OBJECTS.to_owned(),
                &[
                    "spec.oidc.provider.issuer",
                    "spec.oidc.provider.tokenEndpoint",
                    "spec.jwt.providers[0].remoteJWKS.uri",
                ][..],
            ),
            (
                format!("{OBJECTS}{SERVICE}"),
                &["spec.oidc.provider.issuer"],
            ),
        ] {
            let found = never_resolved(&decode("in.yaml", &objects).objects);

            assert!(
                found
                    .iter()
                    .map(|one| one.field.as_str())
                    .eq(fields.iter().copied())
            );
            assert_eq!(
                found[0].message,
                "host \"op.invalid\" cannot be resolved: names below \"invalid\" never have an address \
                 (RFC 6761); no login can complete"
            );
            assert_eq!(found[0].line, 8);
        }
    }

    #[test]
    fn a_name_of_a_service_has_two_labels_before_svc() {
        let service = |host| service_of(host).map(|key| key.to_string());

        assert_eq!(service("a.b.svc").as_deref(), Some("b/a"));
        assert_eq!(service("a.b.svc.cluster.local").as_deref(), Some("b/a"));
        for other in ["pod.a.b.svc", "a.svc", "a.b.example.com", "svc"] {
            assert_eq!(service(other), None, "{other}");
        }
    }
}
