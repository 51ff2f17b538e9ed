//! OpenID Connect (SecurityPolicy `oidc`): users log in at a provider, and the session is stored in cookies
//! of the browser.
//!
//! ```text
//! no session ──LoginContext::begin──> 302 to the provider ──browser──> callback ──> token endpoint
//!                                                                                        │
//! cookies ──SessionSeal::read──> UserSession ──> backend      <──302 with cookies────────┘
//!                 └─ expired ──refresh──> UserSession with new cookies
//! ```
//!
//! The login is the authorization code flow with PKCE (RFC 7636) of OpenID Connect Core 1.0. The gateway
//! stores no sessions. A session consists of cookies that are sealed by [`SessionKeys`], so every replica
//! with the same keys accepts it.
//!
//! Invariants:
//! - A request is forwarded only with cookies that [`SessionKeys`] have signed, or with a token that `jwt`
//!   verifies.
//! - A login ends at the URL where it began, on the host of the callback or within the cookie domain.
//! - Each login has its own cookies, so logins in several tabs do not affect each other.
//! - Client secret, tokens and keys are never in logs or `Debug` output. The log contains the reasons why
//!   logins fail.
//!
//! [`OidcPolicy`] can also be used outside a gateway, as a Layer. It then calls the provider only through
//! [`ProviderClient`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use bytes::Bytes;
//! use http::Request;
//! use towergate_core::policy::{BuiltPolicy, PolicyLayer};
//! use towergate_policy::oidc::{OidcAuthentication, OidcPolicy, ProviderClient, ProviderFuture};
//!
//! /// Calls the provider with the HTTP client of the program.
//! struct Client;
//!
//! impl ProviderClient for Client {
//!     fn call(&self, request: Request<Bytes>) -> ProviderFuture<'_> {
//!         Box::pin(async move { Err(format!("{} cannot be reached", request.uri())) })
//!     }
//! }
//!
//! let secret = "a random secret that the provider knows";
//! let rule = OidcAuthentication::new("app", "https://login.example.com", "client", secret);
//! let policy = OidcPolicy::new(rule, Arc::new(Client))?;
//! let layer = PolicyLayer::new(BuiltPolicy::waiting(policy));
//! # let _ = layer;
//! # Ok::<(), towergate_core::policy::PolicyError>(())
//! ```

mod chunks;
mod cookies;
mod endpoints;
mod error;
mod failure_log;
mod fetched;
mod gateway_client;
mod id_token;
mod jar;
mod login;
mod policy;
mod provider;
mod redirect_url;
mod refresh;
mod seal;
mod session;
mod settings;
mod state;
mod token_endpoint;

#[cfg(test)]
mod tests;

pub use cookies::SessionCookies;
pub use endpoints::ProviderEndpoints;
pub use error::OidcError;
pub use id_token::IdTokenError;
pub use policy::OidcPolicy;
pub use provider::{ProviderClient, ProviderFuture};
pub use redirect_url::{RedirectHost, RedirectUrl, RedirectUrlError};
pub use seal::{SHORTEST_SESSION_KEY, SessionKeyError, SessionKeys};
pub use settings::{HeaderCondition, OidcAuthentication, OidcProviderSettings};

/// Entry point of the fuzzer: arbitrary cookies are never a session.
#[doc(hidden)]
pub mod fuzzing {
    use std::time::{Duration, SystemTime};

    use http::HeaderMap;
    use http::header::COOKIE;

    use super::jar::CookieJar;
    use super::session::{SessionSeal, SessionState};
    use super::state::LoginState;
    use super::{SessionCookies, SessionKeys};

    /// Reads `line` as cookies, and its parts as a state and as sealed values. Panics if one of them is
    /// accepted.
    pub fn cookies(line: &[u8]) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = http::HeaderValue::from_bytes(line) {
            headers.insert(COOKIE, value);
        }
        let keys = SessionKeys::derive(&["a key of the fuzzer, of 32 bytes"], "fuzz");
        let Ok(keys) = keys else { return };
        let jar = CookieJar::of(&headers);
        let cookies = SessionCookies::new("0");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        for encrypted in [true, false] {
            let seal = SessionSeal {
                cookies: &cookies,
                keys: &keys,
                site: super::session::SessionSite::Host("a.test"),
                encrypted,
            };
            let state = seal.read(&jar, now);
            assert_eq!(state, SessionState::None, "a forged session");
        }
        if let Ok(text) = std::str::from_utf8(line) {
            assert!(keys.open("state", text).is_none(), "a forged seal");
            let state = LoginState::decode(text);
            assert!(!state.is_ok_and(|state| state.is_signed(&keys, now)));
        }
    }
}
