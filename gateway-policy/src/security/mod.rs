//! SecurityPolicy: who may send requests.
//!
//! Nothing of it is enforced yet. A policy that asks for anything is refused, names the field, and the
//! routes that it covers fail closed: a rule that is not understood never lets anybody pass.
//!
//! ```
//! use towergate_policy::SecurityPolicySpec;
//!
//! let spec: SecurityPolicySpec = serde_json::from_str(
//!     r#"{"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
//!         "basicAuth": {"users": {"name": "users"}}}"#,
//! )?;
//! assert!(spec.basic_auth.is_some());
//! # Ok::<(), serde_json::Error>(())
//! ```

mod authorization;
mod jwt;
mod model;
mod oidc;

pub use authorization::{
    Action, Anonymous, Authorization, AuthorizationRule, GeoLocation, HeaderPrincipal, JwtClaim,
    JwtPrincipal, Operation, Principal, ValueType,
};
pub use jwt::{
    ClaimToHeader, Jwt, JwtExtractFrom, JwtHeader, JwtProvider, LocalJwks, RemoteJwks, ValueSource,
};
pub(crate) use model::ORIGIN;
pub use model::{
    ApiKeyAuth, ApiKeySource, BasicAuth, BodyToExtAuth, ContextExtension, ContextType, Cors, Csrf,
    ExtAuth, GrpcExtAuth, HttpExtAuth, SecurityPolicySpec,
};
pub use oidc::{
    CookieConfig, CookieNames, DenyRedirect, DenyRedirectHeader, ForwardIdToken, Oidc,
    OidcProvider, SameSite,
};
