//! The order in which the policies of a rule run.

use serde::{Deserialize, Serialize};

/// Position of a policy in the request path. The request halves of a rule's policies run in ascending
/// order, the response halves in descending order.
///
/// The order is that of Envoy Gateway's filters, except for the extensions:
///
/// | stage | reason for its place |
/// |---|---|
/// | `ResponseOverride` | outermost, so that it also replaces the local replies of all other policies |
/// | `Fault` | a fault simulates a failure of the gateway, so it also affects preflights |
/// | `Cors` | a preflight contains no credentials, so the reply precedes authentication |
/// | `Csrf` | forged requests are rejected before a service is called for them |
/// | `EarlyBodyLimit`, `EarlyRateLimit`, `EarlyAuthorization` | extensions of Towergate: policies that precede authentication, so that no service is called for requests that they reject |
/// | `ExternalAuth` | the service receives the request before credentials are removed from it |
/// | `ApiKey`, `BasicAuth`, `Oidc`, `Jwt` | each determines an identity that later policies use |
/// | `SessionPersistence` | the session selects the endpoint only for authenticated requests |
/// | `Buffer` | bodies of unauthenticated clients are neither buffered nor measured |
/// | `Authorization` | requires the identity and the claims |
/// | `Extension` | external processing, Lua and Wasm receive authorized requests only |
/// | `LocalRateLimit`, `GlobalRateLimit` | rejected requests are not counted; the limit that needs no service is first |
/// | `AdmissionControl` | requests that a rate limit rejects do not show whether the backend is overloaded |
/// | `BandwidthLimit` | limits the bytes of requests that are forwarded |
/// | `Compression` | its response half runs first, so the other policies receive the compressed body |
/// | `CredentialInjection` | adds the gateway's own credentials, which other policies must not receive |
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
    /// Rejects a part of the requests while too few requests succeed.
    AdmissionControl,
    /// Limits bytes per time.
    BandwidthLimit,
    /// Compresses the response body.
    Compression,
    /// Adds credentials for the backend.
    CredentialInjection,
}
