//! The order of policies.

use serde::{Deserialize, Serialize};

/// Position of a policy in the request path. The request halves of a rule's policies run in ascending
/// order, the response halves in descending order.
///
/// The order is that of Envoy Gateway's filters, except for the extensions:
///
/// | stage | reason for its place |
/// |---|---|
/// | `ResponseOverride` | outermost: it also replaces the local replies of all other policies |
/// | `Fault` | a fault stands for a failure of the gateway, so it also affects preflights |
/// | `Cors` | a preflight carries no credentials, so it is answered before authentication |
/// | `Csrf` | a forged request is rejected before a service is called for it |
/// | `EarlyBodyLimit`, `EarlyRateLimit`, `EarlyAuthorization` | extensions: policies that are placed before authentication, so that no service is called for requests that are rejected anyway |
/// | `ExternalAuth` | the service receives the request before credentials are removed from it |
/// | `ApiKey`, `BasicAuth`, `Oidc`, `Jwt` | each sets an identity that later policies use |
/// | `SessionPersistence` | only authenticated requests choose an endpoint by their session |
/// | `Buffer` | bodies of unauthenticated clients are neither buffered nor measured |
/// | `Authorization` | needs the identity and the claims |
/// | `Extension` | external processing, Lua and Wasm receive authorized requests only |
/// | `LocalRateLimit`, `GlobalRateLimit` | rejected requests do not count; the cheap limit is first |
/// | `AdmissionControl` | requests that a limit rejects are no evidence about the backend |
/// | `BandwidthLimit` | limits the bytes of requests that are forwarded |
/// | `Compression` | innermost of the response halves: the others see the compressed body |
/// | `CredentialInjection` | adds the gateway's own credentials, which no other policy sees |
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stage {
    /// Replaces responses by their status.
    ResponseOverride,
    /// Injects delays and aborts.
    Fault,
    /// Replies to preflights and adds the CORS fields to responses.
    Cors,
    /// Rejects requests with unsafe methods from other origins.
    Csrf,
    /// Limits the size of the request body before authentication.
    EarlyBodyLimit,
    /// Limits requests per time before authentication.
    EarlyRateLimit,
    /// Authorizes by facts that are known before authentication.
    EarlyAuthorization,
    /// Calls an authorization service.
    ExternalAuth,
    /// Authenticates by an API key.
    ApiKey,
    /// Authenticates by name and password.
    BasicAuth,
    /// Authenticates by OpenID Connect.
    Oidc,
    /// Authenticates by a JSON Web Token.
    Jwt,
    /// Binds a client to an endpoint.
    SessionPersistence,
    /// Buffers the request body, or limits its size.
    Buffer,
    /// Authorizes by client address, header fields and claims.
    Authorization,
    /// Calls user code: external processing, Lua, Wasm.
    Extension,
    /// Limits requests per time, counted by each gateway.
    LocalRateLimit,
    /// Limits requests per time, counted by a rate limit service.
    GlobalRateLimit,
    /// Rejects requests while too few succeed.
    AdmissionControl,
    /// Limits bytes per time.
    BandwidthLimit,
    /// Compresses the response body.
    Compression,
    /// Adds credentials for the backend.
    CredentialInjection,
}
