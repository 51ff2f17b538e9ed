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

/// The login that requests need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OidcAuthentication {
    /// The provider.
    pub provider: OidcProviderSettings,
    /// Client ID of the gateway at the provider.
    pub client_id: String,
    /// Client secret.
    pub client_secret: SecretText,
    /// Keys of the cookies: the first one seals, all of them open. Empty: derived from the client secret.
    pub session_keys: Vec<SecretText>,
    /// `namespace/name` of the policy. Keys of cookies depend on it, so that no policy can create
    /// sessions of another.
    pub policy_name: String,
    /// Names and attributes of the cookies.
    pub cookies: SessionCookies,
    /// The URL to which the provider sends the browser back.
    pub redirect_url: RedirectUrl,
    /// The path that ends the session.
    pub logout_path: String,
    /// Scopes that are requested, `openid` included.
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
    /// Tokens with which requests need no session: the policy `jwt` verifies them.
    pub pass_through: Vec<TokenSources>,
    /// Lifetime of tokens whose response has no `expires_in`; 0: such a response is an error.
    pub default_token_ttl: Duration,
    /// Lifetime of refresh tokens; `None`: tokens are not refreshed.
    pub refresh_token_ttl: Option<Duration>,
    /// Time for a login, from the redirect to the callback.
    pub login_ttl: Duration,
    /// Whether access and ID token are encrypted in cookies. Refresh tokens are always encrypted.
    pub encrypt_tokens: bool,
}

/// An OpenID provider and the connections to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OidcProviderSettings {
    /// Issuer.
    pub issuer: String,
    /// URL of the authorization endpoint; `None`: discovered (OpenID Connect Discovery 1.0).
    pub authorization: Option<String>,
    /// URL of the token endpoint; `None`: discovered.
    pub token: Option<String>,
    /// URL of the endpoint for logout; `None`: discovered if another endpoint is discovered.
    pub end_session: Option<String>,
    /// Backends that serve the provider; empty: the hosts of its URLs, which the data plane looks up.
    pub backends: Vec<WeightedBackend>,
    /// Timeouts, retries and connection settings of calls.
    pub traffic: Arc<Traffic>,
}

impl OidcProviderSettings {
    /// Whether ID tokens are validated in full: signature if the keys are known, `iss` and `nonce`. The exception
    /// is an issuer without TLS whose endpoints are configured: it is on the same host.
    pub fn is_strict(&self) -> bool {
        self.configured().is_none() || self.issuer.starts_with("https://")
    }

    /// The endpoints, if nothing needs to be discovered.
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
    /// Logins of a client at an issuer whose endpoints are discovered, with the defaults of
    /// SecurityPolicy. `name` distinguishes the cookies of several policies.
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

    /// The keys of the cookies. They differ between policies, providers and clients.
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
