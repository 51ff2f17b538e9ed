//! The settings of a login at an OpenID provider in a plan.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use towergate_core::plan::{Text, TextMatch, Traffic, WeightedBackend};

use super::{ProviderEndpoints, RedirectUrl, SessionCookies, SessionKeyError, SessionKeys};
use crate::jwt::TokenSources;
use crate::secret::SecretText;

/// The login that requests require.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OidcAuthentication {
    /// The OpenID provider.
    pub provider: OidcProviderSettings,
    /// Client ID of the gateway at the provider.
    pub client_id: String,
    /// Client secret.
    pub client_secret: SecretText,
    /// Keys of the cookies. The first key seals, and all keys open. Empty: a key is derived from the client
    /// secret.
    pub session_keys: Vec<SecretText>,
    /// `namespace/name` of the policy. Keys of cookies depend on it, so that no policy can create sessions of
    /// another policy.
    pub policy_name: String,
    /// Names and attributes of the cookies.
    pub cookies: SessionCookies,
    /// The URL to which the provider redirects the browser after a login.
    pub redirect_url: RedirectUrl,
    /// Path that ends the session.
    pub logout_path: String,
    /// Scopes that are requested, including `openid`.
    pub scopes: Vec<String>,
    /// Resources that are requested (RFC 8707).
    pub resources: Vec<String>,
    /// Conditions. A request without a session that meets one of them receives 401 instead of a
    /// redirect.
    pub deny_redirect: Vec<HeaderCondition>,
    /// Whether the backend receives the access token in `Authorization`.
    pub forward_access_token: bool,
    /// The header in which the backend receives the ID token.
    pub forward_id_token: Option<Text<HeaderName>>,
    /// Sources of tokens with which requests need no session. The policy `jwt` verifies these tokens.
    pub pass_through: Vec<TokenSources>,
    /// Lifetime of tokens if the response has no `expires_in`. 0: a response without it is an error.
    pub default_token_ttl: Duration,
    /// Lifetime of refresh tokens. `None`: sessions are not refreshed.
    pub refresh_token_ttl: Option<Duration>,
    /// Time limit of a login, from the redirect to the callback.
    pub login_ttl: Duration,
    /// Whether access and ID token are encrypted in cookies. Refresh tokens are always encrypted.
    pub encrypt_tokens: bool,
}

/// An OpenID provider and the connections to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OidcProviderSettings {
    /// Issuer: the URL that identifies the provider.
    pub issuer: String,
    /// URL of the authorization endpoint. `None`: it is discovered (OpenID Connect Discovery 1.0).
    pub authorization: Option<String>,
    /// URL of the token endpoint. `None`: it is discovered.
    pub token: Option<String>,
    /// URL of the endpoint for logout. `None`: it is discovered, if another endpoint is discovered too.
    pub end_session: Option<String>,
    /// Backends that serve the provider. Empty: the hosts in its URLs, whose addresses the data plane looks
    /// up.
    pub backends: Vec<WeightedBackend>,
    /// Timeouts, retries and connection settings of calls.
    pub traffic: Arc<Traffic>,
}

impl OidcProviderSettings {
    /// Whether ID tokens are validated completely: `iss`, `nonce`, and the signature if the keys are known.
    /// `false` only for an issuer that is on the same host, has no TLS, and has configured endpoints.
    pub fn is_strict(&self) -> bool {
        self.configured().is_none() || self.issuer.starts_with("https://")
    }

    /// The endpoints. `None` if one of them must be discovered.
    pub(super) fn configured(&self) -> Option<ProviderEndpoints> {
        Some(ProviderEndpoints {
            authorization: self.authorization.clone()?,
            token: self.token.clone()?,
            end_session: self.end_session.clone(),
            keys: None,
        })
    }

    /// Replaces discovered endpoints by configured ones.
    pub(super) fn override_in(&self, endpoints: &mut ProviderEndpoints) {
        if let Some(url) = &self.authorization {
            endpoints.authorization.clone_from(url);
        }
        if let Some(url) = &self.token {
            endpoints.token.clone_from(url);
        }
        if self.end_session.is_some() {
            endpoints.end_session.clone_from(&self.end_session);
        }
    }
}

/// A condition on a header field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderCondition {
    /// Name of the field.
    pub name: Text<HeaderName>,
    /// Condition on its value.
    pub value: TextMatch,
}

impl HeaderCondition {
    /// Whether one of the lines of the field matches.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(&*self.name).iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .any(|line| self.value.matches(line))
    }
}

impl OidcAuthentication {
    /// Login of a client at an issuer, with the defaults of SecurityPolicy. Endpoints are discovered. `name`
    /// distinguishes the cookies of several policies.
    ///
    /// ```
    /// use towergate_policy::oidc::OidcAuthentication;
    ///
    /// let secret = "a random secret that the provider knows";
    /// let rule = OidcAuthentication::new("app", "https://login.example.com", "client", secret);
    /// assert_eq!(rule.redirect_url.path(), "/oauth2/callback");
    /// ```
    pub fn new(
        name: &str,
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        Self {
            provider: OidcProviderSettings {
                issuer: issuer.into(),
                authorization: None,
                token: None,
                end_session: None,
                backends: Vec::new(),
                traffic: Arc::new(Traffic::default()),
            },
            client_id: client_id.into(),
            client_secret: SecretText::new(client_secret),
            session_keys: Vec::new(),
            policy_name: name.to_owned(),
            cookies: SessionCookies::of_policy(name),
            redirect_url: RedirectUrl::default(),
            logout_path: "/logout".to_owned(),
            scopes: vec!["openid".to_owned()],
            resources: Vec::new(),
            deny_redirect: Vec::new(),
            forward_access_token: false,
            forward_id_token: None,
            pass_through: Vec::new(),
            default_token_ttl: Duration::ZERO,
            refresh_token_ttl: Some(Duration::from_secs(7 * 24 * 3600)),
            login_ttl: Duration::from_secs(600),
            encrypt_tokens: true,
        }
    }

    /// The keys of the cookies. Each combination of policy, provider and client has different keys.
    ///
    /// # Errors
    /// A configured key is too short.
    pub fn keys(&self) -> Result<SessionKeys, SessionKeyError> {
        let identity = format!(
            "{}\n{}\n{}\n{}",
            self.policy_name, self.cookies.suffix, self.provider.issuer, self.client_id
        );
        if self.session_keys.is_empty() {
            return Ok(SessionKeys::of_client_secret(
                self.client_secret.expose(),
                &identity,
            ));
        }
        let texts: Vec<&str> = self.session_keys.iter().map(SecretText::expose).collect();
        SessionKeys::derive(&texts, &identity)
    }

    /// Identifies the provider and the client, without the client secret in plain text.
    pub(super) fn client_identity(&self) -> Result<String, serde_json::Error> {
        let settings = (&self.provider, &self.client_id, &self.client_secret);
        let settings = serde_json::to_vec(&settings)?;
        Ok(HEXLOWER.encode(digest(&SHA256, &settings).as_ref()))
    }
}
