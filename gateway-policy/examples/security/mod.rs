//! The Layer of each section of a SecurityPolicy. The examples of all frameworks share these Layers.

use std::error::Error;
use std::sync::Arc;

use http::HeaderMap;
use towergate_core::plan::WeightedBackend;
use towergate_core::policy::PolicyLayer;
use towergate_policy::common::{BackendRef, ConfigMapRef, ObjectRef};
use towergate_policy::references::{NoReferences, ObjectData, References};
use towergate_policy::{FieldError, SecurityPolicySpec};
use towergate_tls::rustls::crypto::aws_lc_rs;

/// The Layer of the SecurityPolicy section that the command line names.
pub(crate) fn layer(section: &str) -> Result<PolicyLayer, Box<dyn Error>> {
    of_spec(match section {
        "basic-auth" => BASIC_AUTH,
        "api-key" => API_KEY,
        "jwt" => JWT,
        "authorization" => AUTHORIZATION,
        "cors" => r#"{"cors": {"allowOrigins": ["https://app.example.com"]}}"#,
        "csrf" => r#"{"csrf": {}}"#,
        _ => return Err(format!("unknown section {section:?}").into()),
    })
}

/// The response of the service behind the Layer. The service receives the name of the user in `x-user`.
pub(crate) fn greeting(headers: &HeaderMap) -> String {
    let user = headers.get("x-user").and_then(|user| user.to_str().ok());
    format!("hello, {}\n", user.unwrap_or("stranger"))
}

/// The Layer of a SecurityPolicy's spec.
pub(crate) fn of_spec(spec: &str) -> Result<PolicyLayer, Box<dyn Error>> {
    let spec: SecurityPolicySpec = serde_json::from_str(spec)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(PolicyLayer::of_policies(
        spec.policies(&Secrets)?,
        &provider,
    )?)
}

/// User `alice` with the password `wonderland`.
const BASIC_AUTH: &str =
    r#"{"basicAuth": {"users": {"name": "users"}, "forwardUsernameHeader": "x-user"}}"#;

const API_KEY: &str = r#"{"apiKeyAuth": {
    "credentialRefs": [{"name": "keys"}],
    "extractFrom": [{"headers": ["x-api-key"]}],
    "forwardClientIDHeader": "x-user"
}}"#;

/// A provider that signs tokens with a shared secret of 32 zero bytes.
const JWT: &str = r#"{"jwt": {"providers": [{
    "name": "example",
    "localJWKS": {"type": "Inline", "inline":
        "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}"},
    "claimToHeaders": [{"claim": "sub", "header": "x-user"}]
}]}}"#;

/// Allows requests with GET and HEAD from the local machine, and denies all others.
const AUTHORIZATION: &str = r#"{"authorization": {"defaultAction": "Deny", "rules": [{
    "action": "Allow",
    "operation": {"methods": ["GET", "HEAD"]},
    "principal": {"clientCIDRs": ["127.0.0.0/8"]}
}]}}"#;

/// The Secrets to which the policies of the examples refer. A service of your own would take them from its
/// configuration.
#[derive(Debug)]
struct Secrets;

impl References for Secrets {
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError> {
        let (key, value) = match reference.name.as_deref() {
            Some("users") => (".htpasswd", "alice:{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ="),
            Some("keys") => ("billing", "key-of-billing"),
            _ => return NoReferences.secret(field, reference),
        };
        Ok(ObjectData::from([(key.to_owned(), value.into())]))
    }

    fn config_map(&self, field: &str, reference: &ConfigMapRef) -> Result<ObjectData, FieldError> {
        NoReferences.config_map(field, reference)
    }

    fn backends(
        &self,
        field: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        NoReferences.backends(field, references)
    }
}
