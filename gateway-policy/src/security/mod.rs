//! SecurityPolicy: authentication and authorization of requests.
//!
//! Each section of the spec has one file with its declaration and its conversion. A policy that sets an
//! unsupported section or field is rejected with a message that names the field. The routes that the policy
//! covers fail closed.
//!
//! ```
//! use towergate_policy::SecurityPolicySpec;
//!
//! let spec: SecurityPolicySpec = serde_json::from_str(
//!     r#"{"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
//!         "basicAuth": {"users": {"name": "a"}}}"#,
//! )?;
//! let error = spec.policies(&towergate_policy::references::NoReferences).unwrap_err();
//! assert_eq!(error.to_string(), "spec.basicAuth.users: Secret a not found");
//! # Ok::<(), serde_json::Error>(())
//! ```

mod api_key_auth;
mod authorization;
mod basic_auth;
mod cors;
mod csrf;
mod ext_auth;
#[cfg(test)]
mod ext_auth_tests;
mod extensions;
mod jwt;
mod oidc;
#[cfg(test)]
mod oidc_tests;
mod spec;

pub use api_key_auth::{ApiKeyAuth, ApiKeySource};
pub use authorization::{
    Action, Anonymous, Authorization, AuthorizationRule, GeoLocation, HeaderPrincipal, JwtClaim,
    JwtPrincipal, Operation, Principal, ValueType,
};
pub use basic_auth::BasicAuth;
pub use cors::Cors;
pub(crate) use cors::ORIGIN;
pub use csrf::Csrf;
pub use ext_auth::{
    BodyToExtAuth, ContextExtension, ContextType, ExtAuth, GrpcExtAuth, HttpExtAuth,
};
pub use extensions::{
    AUTHORIZATION_BEFORE_AUTHENTICATION, BASIC_AUTH_REALM, CORS_ORIGINS, CORS_RESPONSES,
    EXT_AUTH_SUBREQUEST, apply_annotations,
};
pub use jwt::{
    ClaimToHeader, Jwt, JwtExtractFrom, JwtHeader, JwtProvider, LocalJwks, RemoteJwks, ValueSource,
};
pub use oidc::{
    CookieConfig, CookieNames, DenyRedirect, DenyRedirectHeader, ForwardIdToken, Oidc,
    OidcProvider, SameSite,
};
pub use spec::{SecurityPolicySpec, stream_access};
