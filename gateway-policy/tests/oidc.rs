//! The section `oidc` of a SecurityPolicy: the conversion of each field, and the fields that are rejected by name.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use towergate_core::plan::{Backend, BackendId, BackendProtocol, Destination, WeightedBackend};
use towergate_policy::common::{BackendRef, ConfigMapRef, ObjectRef};
use towergate_policy::oidc::OidcAuthentication;
use towergate_policy::references::ObjectData;
use towergate_policy::secret::SecretText;
use towergate_policy::{FieldError, Policy, References, SecurityPolicySpec};

/// Test data: Secrets, and a Service without TLS.
#[derive(Debug)]
struct Objects {
    keys: Vec<SecretText>,
}

impl References for Objects {
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError> {
        let values: &[(&str, &str)] = match reference.name.as_deref() {
            Some("client") => &[("client-secret", "secret\n"), ("client-id", "from-secret")],
            Some("empty") => &[],
            name => {
                let message = format!("{field}: Secret {} not found", name.unwrap_or_default());
                let field = field.to_owned();
                return Err(FieldError { field, message });
            }
        };
        let values = values.iter().copied();
        Ok(BTreeMap::from_iter(values.map(|(key, value)| {
            (key.to_owned(), value.as_bytes().to_vec())
        })))
    }

    fn config_map(&self, _: &str, _: &ConfigMapRef) -> Result<ObjectData, FieldError> {
        unreachable!("oidc refers to no ConfigMap")
    }

    fn backends(
        &self,
        _: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        let backends = references.iter().map(|reference| {
            let backend = Backend {
                id: BackendId::service("a", reference.name.as_deref().unwrap(), 80),
                protocol: BackendProtocol::Http1,
                tls: None,
                hosts: Vec::new(),
                fallback: false,
                dynamic: None,
            };
            WeightedBackend {
                weight: 1,
                filters: Vec::new(),
                destination: Destination::Backend(backend.into()),
            }
        });
        Ok(backends.collect())
    }

    fn policy_name(&self) -> &str {
        "a/login"
    }

    fn session_keys(&self) -> Result<Vec<SecretText>, FieldError> {
        Ok(self.keys.clone())
    }
}

/// A valid section in which the fields of `change` replace its own. `null` removes a field.
fn section(change: &Value) -> Value {
    let mut section = json!({
        "provider": {"issuer": "http://localhost:8080", "backendRefs": [{"name": "op", "port": 80}]},
        "clientID": "client",
        "clientSecret": {"name": "client"},
    });
    merge(&mut section, change);
    section
}

fn merge(value: &mut Value, change: &Value) {
    match (value, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                if change.is_null() {
                    fields.remove(name);
                } else {
                    merge(fields.entry(name).or_insert(Value::Null), change);
                }
            }
        }
        (value, change) => value.clone_from(change),
    }
}

fn convert_policy(spec: &Value) -> Result<Vec<Policy>, FieldError> {
    let spec: SecurityPolicySpec = serde_json::from_value(spec.clone()).unwrap();
    spec.policies(&Objects { keys: Vec::new() })
}

fn convert(change: &Value) -> Result<OidcAuthentication, FieldError> {
    let policies = convert_policy(&json!({"oidc": section(change)}))?;
    match policies.into_iter().next() {
        Some(Policy::Oidc(oidc)) => Ok(*oidc),
        other => panic!("{other:?}"),
    }
}

#[test]
fn defaults_are_those_of_envoy_gateway() {
    let oidc = convert(&json!({})).unwrap();

    assert_eq!(oidc.redirect_url.path(), "/oauth2/callback");
    assert_eq!(oidc.logout_path, "/logout");
    assert_eq!(oidc.scopes, ["openid"]);
    assert_eq!(oidc.client_secret.expose(), "secret");
    assert_eq!(oidc.default_token_ttl, Duration::ZERO);
    assert_eq!(oidc.refresh_token_ttl, Some(Duration::from_secs(604_800)));
    assert_eq!(oidc.login_ttl, Duration::from_secs(600));
    assert!(oidc.encrypt_tokens && !oidc.forward_access_token);
    assert!(oidc.provider.is_strict(), "endpoints are discovered");
    let suffix = &oidc.cookies.suffix;
    assert_eq!(oidc.cookies.access_token, format!("AccessToken-{suffix}"));
}

#[test]
fn without_backends_the_provider_is_reached_at_the_hosts_of_its_urls() {
    let change = json!({"provider": {"issuer": "https://op.test", "backendRefs": null}});
    let oidc = convert(&change).unwrap();

    assert!(oidc.provider.backends.is_empty());
}

#[test]
fn each_field_is_applied() {
    let oidc = convert(&json!({
        "provider": {
            "authorizationEndpoint": "http://op.test/a", "tokenEndpoint": "http://op.test/t",
            "endSessionEndpoint": "http://op.test/e",
        },
        "clientID": null, "clientIDRef": {"name": "client"},
        "cookieNames": {"accessToken": "A", "idToken": "I"},
        "cookieDomain": "test", "cookieConfig": {"sameSite": "Lax"},
        "scopes": ["email"], "resources": ["urn:r"],
        "redirectURL": "https://%REQ(:authority)%/cb", "logoutPath": "/out",
        "denyRedirect": {"headers": [{"name": "Accept", "type": "Prefix", "value": "a"}]},
        "forwardIDToken": {"header": "x-id"},
        "defaultTokenTTL": "1m", "refreshToken": false, "csrfTokenTTL": "2m",
        "disableTokenEncryption": true,
    }))
    .unwrap();

    assert!(!oidc.provider.is_strict());
    assert_eq!(
        oidc.provider.end_session.as_deref(),
        Some("http://op.test/e")
    );
    assert_eq!(oidc.client_id, "from-secret");
    assert_eq!(
        (&*oidc.cookies.access_token, &*oidc.cookies.id_token),
        ("A", "I")
    );
    assert_eq!(oidc.cookies.domain.as_deref(), Some("test"));
    assert_eq!(oidc.cookies.same_site.unwrap().as_str(), "Lax");
    assert_eq!(oidc.scopes, ["email", "openid"]);
    assert_eq!(oidc.resources, ["urn:r"]);
    assert_eq!(
        (oidc.redirect_url.path(), &*oidc.logout_path),
        ("/cb", "/out")
    );
    assert_eq!(oidc.deny_redirect.len(), 1);
    assert_eq!(oidc.forward_id_token.unwrap().as_str(), "x-id");
    assert_eq!(oidc.default_token_ttl, Duration::from_secs(60));
    assert_eq!(oidc.refresh_token_ttl, None);
    assert_eq!(oidc.login_ttl, Duration::from_secs(120));
    assert!(!oidc.encrypt_tokens);
}

#[test]
fn what_cannot_be_applied_is_refused_by_name() {
    for (change, field) in [
        (json!({"clientSecret": {"name": "none"}}), "clientSecret"),
        (json!({"clientSecret": {"name": "empty"}}), "clientSecret"),
        (json!({"clientID": null}), ""),
        (
            json!({"clientID": null, "clientIDRef": {"name": "empty"}}),
            "clientIDRef",
        ),
        (
            json!({"provider": {"issuer": "op.test"}}),
            "provider.issuer",
        ),
        (
            json!({"provider": {"issuer": "https://op.test"}}),
            "provider.backendRefs",
        ),
        (
            json!({"provider": {"tokenEndpoint": "https://op.test/t"}}),
            "provider.backendRefs",
        ),
        (
            json!({"provider": {"authorizationEndpoint": "/a"}}),
            "provider.authorizationEndpoint",
        ),
        (
            json!({"provider": {"endSessionEndpoint": "ftp://op.test/"}}),
            "provider.endSessionEndpoint",
        ),
        (
            json!({"cookieNames": {"accessToken": "a b"}}),
            "cookieNames.accessToken",
        ),
        (
            json!({"cookieNames": {"accessToken": "a", "idToken": "a"}}),
            "cookieNames",
        ),
        (
            json!({"cookieDomain": "test", "cookieNames": {"idToken": "__Host-a"}}),
            "cookieNames.idToken",
        ),
        (
            json!({"cookieConfig": {"sameSite": "Maybe"}}),
            "cookieConfig.sameSite",
        ),
        (json!({"redirectURL": "https://a.test/"}), "redirectURL"),
        (json!({"redirectURL": "https://%HOST%/cb"}), "redirectURL"),
        (json!({"logoutPath": "out"}), "logoutPath"),
        (json!({"logoutPath": "/oauth2/callback"}), "logoutPath"),
        (
            json!({"denyRedirect": {"headers": [{"name": "a b", "value": "x"}]}}),
            "denyRedirect.headers[0].name",
        ),
        (
            json!({"denyRedirect": {"headers": [
                {"name": "a", "type": "RegularExpression", "value": "("},
            ]}}),
            "denyRedirect.headers[0].value",
        ),
        (
            json!({"forwardIDToken": {"header": "cookie"}}),
            "forwardIDToken.header",
        ),
        (
            json!({"forwardIDToken": {"header": "te"}}),
            "forwardIDToken.header",
        ),
        (json!({"csrfTokenTTL": "0s"}), "csrfTokenTTL"),
        (json!({"defaultTokenTTL": "soon"}), "defaultTokenTTL"),
        (
            json!({"defaultRefreshTokenTTL": "0s"}),
            "defaultRefreshTokenTTL",
        ),
        (
            json!({"passThroughAuthHeader": true}),
            "passThroughAuthHeader",
        ),
    ] {
        let error = convert(&change).unwrap_err();
        let expected = format!("spec.oidc.{field}");
        assert_eq!(
            error.field,
            expected.trim_end_matches('.'),
            "{change}: {error}"
        );
    }
}

#[test]
fn tokens_pass_through_only_to_a_jwt_section_that_refuses_invalid_ones() {
    let spec = |jwt: Value| {
        let mut jwt = jwt;
        jwt["providers"] = json!([{
            "name": "p",
            "localJWKS": {"inline": r#"{"keys": [{"kty": "oct", "k": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}]}"#},
            "extractFrom": {"headers": [{"name": "x-token"}], "params": ["t"]},
        }]);
        json!({"oidc": section(&json!({"passThroughAuthHeader": true})), "jwt": jwt})
    };

    let policies = convert_policy(&spec(json!({}))).unwrap();
    let open = convert_policy(&spec(json!({"failOpen": true}))).unwrap_err();

    let Policy::Oidc(oidc) = &policies[0] else {
        panic!("{policies:?}");
    };
    assert_eq!(oidc.pass_through.len(), 1);
    assert_eq!(oidc.pass_through[0].headers[0].name.as_str(), "x-token");
    assert!(oidc.pass_through[0].params.is_empty());
    assert_eq!(open.field, "spec.oidc.passThroughAuthHeader");
}

#[test]
fn session_keys_of_the_operator_are_used_and_short_ones_are_refused() {
    let spec: SecurityPolicySpec =
        serde_json::from_value(json!({"oidc": section(&json!({}))})).unwrap();
    let with = |key: &str| {
        let keys = vec![SecretText::new(key)];
        spec.policies(&Objects { keys })
    };

    assert!(with(&"k".repeat(32)).is_ok());
    let error = with("short").unwrap_err();
    assert_eq!(error.field, "spec.oidc");
}
