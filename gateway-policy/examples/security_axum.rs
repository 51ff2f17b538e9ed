//! SecurityPolicies of Envoy Gateway as a Layer of an axum service. Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example security_axum -- basic-auth
//! curl -u alice:wonderland http://127.0.0.1:3000/
//! ```
//!
//! The argument is `basic-auth`, `api-key`, `jwt`, `authorization`, `cors` or `csrf`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http::{Extensions, HeaderMap};
use tokio::net::TcpListener;
use towergate_core::http::client_ip::{ClientIpLayer, ClientIpRule};
use towergate_core::plan::WeightedBackend;
use towergate_core::policy::PolicyLayer;
use towergate_policy::common::{BackendRef, ConfigMapRef, ObjectRef};
use towergate_policy::references::{NoReferences, ObjectData, References};
use towergate_policy::{FieldError, SecurityPolicySpec};
use towergate_tls::rustls::crypto::aws_lc_rs;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args()
        .nth(1)
        .ok_or("missing argument: a section")?;
    serve(&part, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(part: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let spec = match part {
        "basic-auth" => BASIC_AUTH,
        "api-key" => API_KEY,
        "jwt" => JWT,
        "authorization" => AUTHORIZATION,
        "cors" => r#"{"cors": {"allowOrigins": ["https://app.example.com"]}}"#,
        "csrf" => r#"{"csrf": {}}"#,
        _ => return Err(format!("unknown section {part:?}").into()),
    };
    let app = Router::new()
        .route("/", get(hello).post(hello))
        .layer(security(spec)?)
        .layer(ClientIpLayer::with_peer(ClientIpRule::Peer, peer));
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(socket, service).await?)
}

/// The Layer of a SecurityPolicy's spec.
fn security(spec: &str) -> Result<PolicyLayer, Box<dyn Error>> {
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

/// Tokens of one provider, which signs with a shared secret of 32 zero bytes.
const JWT: &str = r#"{"jwt": {"providers": [{
    "name": "example",
    "localJWKS": {"type": "Inline", "inline":
        "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}"},
    "claimToHeaders": [{"claim": "sub", "header": "x-user"}]
}]}}"#;

/// Reading is allowed to the local machine.
const AUTHORIZATION: &str = r#"{"authorization": {"defaultAction": "Deny", "rules": [{
    "action": "Allow",
    "operation": {"methods": ["GET", "HEAD"]},
    "principal": {"clientCIDRs": ["127.0.0.0/8"]}
}]}}"#;

/// The Secrets that the policies refer to. In your own service they come from its configuration.
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

/// axum has its own extension type for the peer.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

async fn hello(headers: HeaderMap) -> String {
    let user = headers.get("x-user").and_then(|user| user.to_str().ok());
    format!("hello, {}\n", user.unwrap_or("stranger"))
}
