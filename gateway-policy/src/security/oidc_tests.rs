//! Conversion of `oidc`: connections to a provider that must have TLS.

use std::sync::Arc;

use serde_json::{Value, json};
use towergate_core::plan::{Backend, BackendId, BackendProtocol, Destination, WeightedBackend};
use towergate_tls::client::ClientTls;

use super::SecurityPolicySpec;
use crate::common::{BackendRef, ConfigMapRef, ObjectRef};
use crate::references::ObjectData;
use crate::{FieldError, References};

/// Test data: the client secret, and Services. Services named `secure` have a BackendTLSPolicy.
#[derive(Debug)]
struct Objects;

impl References for Objects {
    fn secret(&self, _: &str, _: &ObjectRef) -> Result<ObjectData, FieldError> {
        Ok([("client-secret".to_owned(), b"hidden".to_vec())].into())
    }

    fn config_map(&self, field: &str, _: &ConfigMapRef) -> Result<ObjectData, FieldError> {
        Err(FieldError::invalid(field, "ConfigMap not found"))
    }

    fn backends(
        &self,
        _: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        let found = references.iter().map(|reference| {
            let name = reference.name.as_deref().unwrap_or_default();
            let tls = ClientTls {
                server_name: "op.test".to_owned(),
                subject_alt_names: Vec::new(),
                roots_pem: None,
                alpn: Vec::new(),
                identity: None,
                accept_any_certificate: false,
                limits: towergate_tls::limits::TlsLimits::default(),
            };
            WeightedBackend {
                weight: 1,
                filters: Vec::new(),
                destination: Destination::Backend(Arc::new(Backend {
                    id: BackendId::service("apps", name, 443),
                    protocol: BackendProtocol::Http1,
                    tls: (name == "secure").then(|| Arc::new(tls)),
                    hosts: Vec::new(),
                    fallback: false,
                    dynamic: None,
                })),
            }
        });
        Ok(found.collect())
    }
}

/// The error of a policy with these fields of the provider.
fn error(provider: Value) -> Option<String> {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}]);
    let oidc = json!({
        "provider": provider, "clientID": "client", "clientSecret": {"name": "client"},
    });
    let spec: SecurityPolicySpec =
        serde_json::from_value(json!({"targetRefs": target, "oidc": oidc})).unwrap();
    let error = spec.policies(&Objects).err()?;
    Some(error.message)
}

#[test]
fn a_backend_of_a_provider_with_https_has_tls() {
    const NO_TLS: &str = "spec.oidc.provider.backendRefs: \
                          a backend of an https URL requires a BackendTLSPolicy";
    let backends = |names: &[&str]| {
        let list: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "port": 443}))
            .collect();
        Value::Array(list)
    };
    let endpoints = |authorization: &str, token: &str| json!({ "authorizationEndpoint": authorization, "tokenEndpoint": token });
    let (https, http) = ("https://op.test/x", "http://127.0.0.1:9000/x");
    for (issuer, endpoints, backends, expected) in [
        // Discovery and token requests require TLS.
        (
            "https://op.test",
            json!({}),
            backends(&["plain"]),
            Some(NO_TLS),
        ),
        ("https://op.test", json!({}), backends(&["secure"]), None),
        (
            "https://op.test",
            json!({}),
            backends(&["secure", "plain"]),
            Some(NO_TLS),
        ),
        ("https://op.test", json!({}), json!([]), None),
        (
            "https://op.test",
            endpoints(https, https),
            backends(&["plain"]),
            Some(NO_TLS),
        ),
        (
            "http://localhost:9000",
            endpoints(https, https),
            backends(&["plain"]),
            Some(NO_TLS),
        ),
        // The URL of the token endpoint itself is without TLS, and nothing is discovered.
        (
            "https://op.test",
            endpoints(https, http),
            backends(&["plain"]),
            None,
        ),
        (
            "https://op.test",
            json!({"tokenEndpoint": http}),
            backends(&["plain"]),
            Some(NO_TLS),
        ),
        (
            "http://localhost:9000",
            json!({}),
            backends(&["plain"]),
            None,
        ),
    ] {
        let mut provider = endpoints.clone();
        provider["issuer"] = issuer.into();
        provider["backendRefs"] = backends.clone();

        assert_eq!(error(provider.clone()).as_deref(), expected, "{provider}");
    }
}

#[test]
fn an_issuer_without_tls_is_on_the_host_of_the_data_plane() {
    for (issuer, accepted) in [
        ("https://op.test", true),
        ("http://localhost:8080", true),
        ("http://127.0.0.1", true),
        ("http://[::1]:8080", true),
        ("http://op.test", false),
        ("http://localhost.test", false),
        ("http://127.0.0.1.test", false),
        ("http://10.0.0.1", false),
        ("ftp://localhost", false),
    ] {
        assert_eq!(
            error(json!({ "issuer": issuer })).is_none(),
            accepted,
            "{issuer}"
        );
    }
}
