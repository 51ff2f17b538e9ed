//! The policies of Envoy Gateway (`gateway.envoyproxy.io/v1alpha1`): models of their specs, validation,
//! conversion to values of the plan, and enforcement.
//!
//! | kind | module | becomes |
//! |---|---|---|
//! | ClientTrafficPolicy | [`client_traffic`] | [`ListenerSettings`](towergate_core::plan::ListenerSettings), `TcpSettings`, settings of TLS |
//! | BackendTrafficPolicy | [`backend_traffic`] | [`Traffic`](towergate_core::plan::Traffic) and [`Policy`] values |
//! | SecurityPolicy | [`security`] | [`Policy`] values |
//!
//! ```text
//! spec ──validate──> Vec<SchemaViolation>: what the API server rejects           (check)
//!   └────convert───> values of the plan, or a FieldError: unsupported or invalid
//!                      └──build──> a policy of the request path          (rate_limit)
//! ```
//!
//! Each policy of a route is also a tower Layer, for services without a gateway:
//!
//! | policy | Layer | axum | hyper | tonic |
//! |---|---|---|---|---|
//! | `basicAuth`, `apiKeyAuth`, `jwt`, `authorization`, `cors`, `csrf` | [`PolicyLayer::of_policies`] with [`SecurityPolicySpec::policies`] | [`security_axum`] | [`security_hyper`] | [`security_tonic`] |
//! | `extAuth` | [`PolicyLayer::new`] with [`ExternalAuthPolicy`](ext_auth::ExternalAuthPolicy) | [`ext_auth_axum`] | [`ext_auth_hyper`] | [`ext_auth_tonic`] |
//! | `oidc` | [`PolicyLayer::new`] with [`OidcPolicy`](oidc::OidcPolicy) | [`oidc_axum`] | [`oidc_hyper`] | browsers only |
//! | `rateLimit.local` | [`HeadPolicyLayer`] with [`LocalRateLimit`](rate_limit::LocalRateLimit) | [`limits_axum`] | [`limits_hyper`] | [`limits_tonic`] |
//! | other policies of BackendTrafficPolicy | [`PolicyLayer::of_policies`] with their [`Policy`] | | | |
//!
//! [`PolicyLayer::new`]: towergate_core::policy::PolicyLayer::new
//! [`PolicyLayer::of_policies`]: towergate_core::policy::PolicyLayer::of_policies
//! [`HeadPolicyLayer`]: towergate_core::policy::HeadPolicyLayer
//! [`limits_axum`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/limits_axum.rs
//! [`limits_hyper`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/limits_hyper.rs
//! [`limits_tonic`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/limits_tonic.rs
//! [`security_axum`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/security_axum.rs
//! [`security_hyper`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/security_hyper.rs
//! [`security_tonic`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/security_tonic.rs
//! [`ext_auth_axum`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/ext_auth_axum.rs
//! [`ext_auth_hyper`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/ext_auth_hyper.rs
//! [`ext_auth_tonic`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/ext_auth_tonic.rs
//! [`oidc_axum`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/oidc_axum.rs
//! [`oidc_hyper`]: https://github.com/towergate/towergate/blob/main/gateway-policy/examples/oidc_hyper.rs
//!
//! # Example
//!
//! A SecurityPolicy against cross-site request forgery, in front of any service:
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use towergate_core::Body;
//! use towergate_core::policy::PolicyLayer;
//! use towergate_policy::SecurityPolicySpec;
//! use towergate_policy::references::NoReferences;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec: SecurityPolicySpec = serde_json::from_str(r#"{"csrf": {}}"#)?;
//! // This spec refers to no Secret. For other specs, an implementation of `References` supplies the Secrets.
//! let policies = spec.policies(&NoReferences)?;
//! let layer = PolicyLayer::of_policies(policies, &towergate_tls::default_provider())?;
//! let service = layer.layer(service_fn(|_: Request<Body>| async {
//!     Ok::<_, Infallible>(Response::new(Body::from("saved")))
//! }));
//!
//! let save = |origin| {
//!     let request = Request::post("/").header("host", "shop.example");
//!     request.header("origin", origin).body(Body::empty())
//! };
//! let own = service.clone().oneshot(save("http://shop.example")?).await?;
//! assert_eq!(own.status(), 200);
//! let foreign = service.oneshot(save("http://evil.example")?).await?;
//! assert_eq!(foreign.status(), 403);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `aws-lc-rs` | yes | aws-lc-rs as default crypto provider of `towergate-core` and `towergate-tls` |
//!
//! Policies verify tokens and passwords with aws-lc-rs, whether or not the feature is enabled.
//!
//! # Fields
//!
//! Every field of the three kinds is applied, ignored or rejected. A rejected field invalidates its policy,
//! with an error that names the field. A field is ignored, with a warning, only if this weakens no
//! protection. Unknown fields are skipped; the caller can report them.

use http::HeaderName;
use serde::{Deserialize, Serialize};
use towergate_core::filter::Cors;
use towergate_core::plan::Rule;
use towergate_core::policy::{BuildContext, BuiltPolicy, PolicyError, RoutePolicy, Stage};

pub mod admission;
pub mod api_key;
mod api_struct;
pub mod authorization;
pub mod backend;
pub mod backend_traffic;
pub mod bandwidth;
pub mod basic_auth;
pub mod cel;
mod challenge;
pub mod check;
pub mod client_traffic;
pub mod common;
pub mod compression;
pub mod credential_injection;
pub mod csrf;
pub mod envoy_proxy;
mod error_chain;
pub mod ext_auth;
pub mod fault;
mod field_error;
mod field_path;
pub mod geoip;
pub mod global_rate_limit;
pub mod jwt;
pub mod merge;
pub mod oidc;
mod parse;
pub mod rate_limit;
pub mod references;
pub mod request_body_limit;
pub mod request_metadata;
pub mod response_override;
pub mod route_filter;
pub mod schema;
pub mod secret;
pub mod security;
pub mod session_persistence;
mod unary_call;
mod url_origin;

pub use backend_traffic::BackendTrafficPolicySpec;
pub use check::SchemaViolation;
pub use client_traffic::ClientTrafficPolicySpec;
pub use field_error::FieldError;
pub use parse::parse_cidr;
pub use references::References;
pub use security::SecurityPolicySpec;

/// A policy of a route: one variant for each policy that the gateway enforces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Policy {
    /// Handling of cross-origin requests (CORS).
    Cors(Cors),
    /// Protection against cross-site request forgery.
    Csrf(csrf::CsrfProtection),
    /// Authorization by an external service.
    ExternalAuth(ext_auth::ExternalAuth),
    /// Authentication by API key.
    ApiKey(api_key::ApiKeyAuthentication),
    /// HTTP Basic authentication.
    BasicAuth(basic_auth::BasicAuthentication),
    /// Authentication by OpenID Connect.
    Oidc(Box<oidc::OidcAuthentication>),
    /// Authentication by JSON Web Token.
    Jwt(jwt::JwtAuthentication),
    /// Assignment of sessions to endpoints.
    SessionPersistence(session_persistence::SessionPersistence),
    /// Authorization by client address, location, header fields, claims and CEL conditions.
    Authorization(authorization::AuthorizationRules),
    /// A local rate limit.
    LocalRateLimit(rate_limit::LocalRateLimit),
    /// A rate limit for which an external service counts the requests.
    GlobalRateLimit(global_rate_limit::GlobalRateLimit),
    /// Replacement of responses.
    ResponseOverride(response_override::ResponseReplacement),
    /// Injection of faults.
    Fault(fault::FaultRule),
    /// Buffering of the whole request before it is forwarded.
    RequestBuffer(request_body_limit::RequestBuffering),
    /// A limit of the size of request bodies.
    RequestBodyLimit(request_body_limit::RequestBodyLimit),
    /// Rejection of requests while too few requests succeed.
    AdmissionControl(admission::AdmissionRule),
    /// A limit of throughput.
    BandwidthLimit(bandwidth::ThroughputLimit),
    /// Compression of responses.
    Compression(compression::ResponseCompression),
    /// Addition of credentials for the backend.
    CredentialInjection(credential_injection::RequestCredential),
    /// A policy that runs at another stage than its own.
    AtStage(Stage, Box<Self>),
}

impl Policy {
    /// Makes the policies for which `matches` returns `true` run before authentication.
    pub(crate) fn move_early(policies: &mut [Self], matches: impl Fn(&Self) -> bool) {
        for policy in policies.iter_mut().filter(|policy| matches(policy)) {
            let stage = match policy.stage() {
                Stage::Authorization => Stage::EarlyAuthorization,
                Stage::LocalRateLimit => Stage::EarlyRateLimit,
                Stage::Buffer => Stage::EarlyBodyLimit,
                // Other policies are not moved.
                _ => continue,
            };
            let moved = Box::new(policy.clone());
            *policy = Self::AtStage(stage, moved);
        }
    }

    /// Names of the header fields for the backend that the policy fills with the identity of the client.
    fn identity_fields(&self) -> Vec<HeaderName> {
        match self {
            Self::Jwt(jwt) => {
                let providers = jwt.providers.iter();
                let headers = providers.flat_map(|provider| &provider.claim_headers);
                headers
                    .map(|header| HeaderName::clone(&header.name))
                    .collect()
            }
            Self::ApiKey(keys) => keys
                .forward_client
                .as_deref()
                .cloned()
                .into_iter()
                .collect(),
            Self::BasicAuth(users) => users
                .forward_user_name
                .as_deref()
                .cloned()
                .into_iter()
                .collect(),
            Self::AtStage(_, policy) => policy.identity_fields(),
            _ => Vec::new(),
        }
    }
}

/// Names of the header fields that the policies after external authorization fill. An authorization service must
/// not receive them from the client.
fn later_identity_fields(rule: &Rule<Policy>) -> Vec<HeaderName> {
    let is_external = |policy: &&Policy| match policy {
        Policy::AtStage(_, inner) => matches!(**inner, Policy::ExternalAuth(_)),
        own => matches!(own, Policy::ExternalAuth(_)),
    };
    let own = rule.policies.iter().find(is_external).map(Policy::stage);
    let later = rule
        .policies
        .iter()
        .filter(|policy| Some(policy.stage()) > own);
    later.flat_map(Policy::identity_fields).collect()
}

impl RoutePolicy for Policy {
    fn stage(&self) -> Stage {
        match self {
            Self::Cors(_) => Stage::Cors,
            Self::Csrf(_) => Stage::Csrf,
            Self::ExternalAuth(_) => Stage::ExternalAuth,
            Self::ApiKey(_) => Stage::ApiKey,
            Self::BasicAuth(_) => Stage::BasicAuth,
            Self::Oidc(_) => Stage::Oidc,
            Self::Jwt(_) => Stage::Jwt,
            Self::SessionPersistence(_) => Stage::SessionPersistence,
            Self::Authorization(_) => Stage::Authorization,
            Self::LocalRateLimit(_) => Stage::LocalRateLimit,
            Self::GlobalRateLimit(_) => Stage::GlobalRateLimit,
            Self::ResponseOverride(_) => Stage::ResponseOverride,
            Self::Fault(_) => Stage::Fault,
            Self::RequestBuffer(_) | Self::RequestBodyLimit(_) => Stage::Buffer,
            Self::AdmissionControl(_) => Stage::AdmissionControl,
            Self::BandwidthLimit(_) => Stage::BandwidthLimit,
            Self::Compression(_) => Stage::Compression,
            Self::CredentialInjection(_) => Stage::CredentialInjection,
            Self::AtStage(stage, _) => *stage,
        }
    }

    fn build(
        &self,
        rule: &Rule<Self>,
        context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError> {
        Ok(match self {
            Self::Cors(cors) => BuiltPolicy::head(cors.clone()),
            Self::Csrf(csrf) => BuiltPolicy::head(csrf.clone()),
            Self::ExternalAuth(settings) => {
                let later = later_identity_fields(rule);
                ext_auth::ExternalAuthPolicy::built(settings, later, rule, context)?
            }
            Self::ApiKey(keys) => BuiltPolicy::head(api_key::ApiKeyPolicy::new(keys)?),
            Self::BasicAuth(users) => basic_auth::BasicAuthPolicy::built(users)?,
            Self::Oidc(oidc) => oidc::OidcPolicy::built(oidc, context)?,
            Self::Jwt(jwt) => jwt::JwtPolicy::built(jwt, context)?,
            Self::SessionPersistence(settings) => BuiltPolicy::body(
                session_persistence::SessionPersistencePolicy::new(settings, rule, context)?,
            ),
            Self::Authorization(rules) => {
                authorization::LocationAuthorization::built(rules, context.live)
            }
            Self::LocalRateLimit(limit) => limit.build(context),
            Self::GlobalRateLimit(limit) => {
                global_rate_limit::GlobalRateLimitPolicy::built(limit, context)
            }
            Self::ResponseOverride(rules) => BuiltPolicy::body(rules.clone()),
            Self::Fault(fault) => fault.built(),
            Self::RequestBuffer(buffering) => BuiltPolicy::waiting(*buffering),
            Self::RequestBodyLimit(limit) => BuiltPolicy::body(*limit),
            Self::AdmissionControl(rule) => rule.build(context),
            Self::BandwidthLimit(limit) => limit.build(context),
            Self::Compression(compression) => BuiltPolicy::body(compression.clone()),
            Self::CredentialInjection(credential) => {
                BuiltPolicy::head(credential_injection::CredentialPolicy::new(credential)?)
            }
            Self::AtStage(_, policy) => policy.build(rule, context)?,
        })
    }
}
