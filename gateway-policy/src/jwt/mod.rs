//! JSON Web Tokens (SecurityPolicy `jwt`): requests must have a token that one of the providers has issued.
//!
//! ```text
//! head ──source──> tokens ──decode──> claims ──check_claims──> ──KeySet::verify──> VerifiedToken
//! ```
//!
//! Every token in a provider's sources must be valid. If there are several providers, one of them must accept
//! the request. The backend receives the claims in [`TokenProvider::claim_headers`], and later policies
//! receive [`VerifiedTokens`].
//!
//! [`JwtVerifier`] is a pure function of the head, the keys and the clock; the caller supplies the
//! keys.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use towergate_policy::jwt::{JwtAuthentication, JwtError, JwtVerifier, KeySet, TokenProvider};
//!
//! let provider = TokenProvider::new("main", r#"{"keys": []}"#);
//! let rule = JwtAuthentication::of(provider);
//! let (head, ()) = http::Request::get("/").body(())?.into_parts();
//!
//! let keys = [None::<std::sync::Arc<KeySet>>];
//! let result = JwtVerifier::new(&rule).verify(&head, &keys, SystemTime::now());
//! assert_eq!(result.unwrap_err(), JwtError::Missing);
//! # Ok::<(), http::Error>(())
//! ```

mod claims;
mod error;
mod keys;
mod policy;
mod remote;
mod source;
mod token;
mod verified_cache;
mod verify;

pub use claims::{ClaimHeader, InvalidClaim, find_claim};
pub use error::JwtError;
pub use keys::{Algorithm, KeySet, KeySetError, MAX_KEY_SET_LENGTH};
pub use policy::JwtPolicy;
pub(crate) use source::query_pairs;
pub use source::{TokenHeader, TokenSources};
pub use token::{Claims, UnverifiedToken};
pub use verify::{CLOCK_SKEW, check_claims};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use http::request;
use serde::{Deserialize, Serialize};
use towergate_core::plan::{Traffic, WeightedBackend};

use crate::secret::SecretText;

/// Maximum length of a token, in bytes. Envoy only limits the header section.
pub const MAX_TOKEN_LENGTH: usize = 64 * 1024;

/// The tokens that requests must carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JwtAuthentication {
    /// Issuers of tokens. Never empty.
    pub providers: Vec<TokenProvider>,
    /// Treatment of requests without a valid token.
    pub requirement: TokenRequirement,
}

/// Treatment of requests without a valid token.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum TokenRequirement {
    /// Requests without a valid token are rejected.
    #[default]
    Required,
    /// Requests without a token are allowed; requests with an invalid token are rejected.
    Optional,
    /// Requests with a missing or invalid token are allowed. An invalid token is forwarded unchanged, and
    /// none of its claims is used.
    FailOpen,
}

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenProvider {
    /// The provider's name, by which `authorization` refers to it.
    pub name: String,
    /// The value of `iss`; `None`: not checked.
    pub issuer: Option<String>,
    /// Accepted values of `aud`. Empty: not checked.
    pub audiences: Vec<String>,
    /// Source of the keys that verify signatures.
    pub keys: KeySource,
    /// Places from which tokens are read.
    pub sources: TokenSources,
    /// Claims that the backend receives.
    pub claim_headers: Vec<ClaimHeader>,
    /// Whether the request is routed again after the claims have been added to its head.
    pub recompute_route: bool,
}

/// Source of a provider's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum KeySource {
    /// The text of a key set, which may contain shared secrets.
    Local(SecretText),
    /// The URL of a key set, which is fetched and cached.
    Remote(RemoteKeys),
}

/// A key set that is fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteKeys {
    /// URL of the key set.
    pub uri: String,
    /// Backends that serve the URL.
    pub backends: Vec<WeightedBackend>,
    /// Timeouts, retries and connection settings of a fetch.
    pub traffic: Arc<Traffic>,
    /// Time for which a key set is used before it is fetched again. Default: 5 minutes.
    pub cache: Duration,
    /// Time between a failed fetch and the next. Default: 1 second.
    pub retry: Duration,
}

impl JwtAuthentication {
    /// Authentication that requires a token of `provider`.
    pub fn of(provider: TokenProvider) -> Self {
        Self {
            providers: vec![provider],
            requirement: TokenRequirement::Required,
        }
    }
}

impl TokenProvider {
    /// A provider with an embedded key set, which checks neither issuer nor audience.
    pub fn new(name: impl Into<String>, key_set: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            issuer: None,
            audiences: Vec::new(),
            keys: KeySource::Local(SecretText::new(key_set)),
            sources: TokenSources::default(),
            claim_headers: Vec::new(),
            recompute_route: false,
        }
    }
}

/// A token whose signature and claims were verified.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// Index of the provider in [`JwtAuthentication::providers`].
    pub provider: usize,
    /// The claims of the token.
    pub claims: Arc<Claims>,
}

/// The verified tokens of a request, for policies that run later.
#[derive(Clone, Debug, Default)]
pub struct VerifiedTokens(Vec<(Arc<str>, Arc<Claims>)>);

impl VerifiedTokens {
    /// Adds the claims of a token of the provider with this [identity](TokenProvider::identity).
    pub fn add(&mut self, provider: Arc<str>, claims: Arc<Claims>) {
        self.0.push((provider, claims));
    }

    /// The claims of the tokens of the provider with this [identity](TokenProvider::identity).
    pub fn of<'t>(&'t self, provider: &'t str) -> impl Iterator<Item = &'t Claims> {
        let own = self.0.iter().filter(move |(name, _)| **name == *provider);
        own.map(|(_, claims)| &**claims)
    }
}

/// Verifies the tokens of requests.
#[derive(Clone, Copy, Debug)]
pub struct JwtVerifier<'r> {
    rule: &'r JwtAuthentication,
}

impl<'r> JwtVerifier<'r> {
    /// A verifier for `rule`.
    pub fn new(rule: &'r JwtAuthentication) -> Self {
        Self { rule }
    }

    /// The verified tokens of a request. Empty if the request is allowed without a token. `keys` contains the
    /// keys of each provider, in the order of the providers. `None`: the keys are not available.
    ///
    /// # Errors
    /// The reason why the request is rejected.
    pub fn verify(
        &self,
        head: &request::Parts,
        keys: &[Option<Arc<KeySet>>],
        now: SystemTime,
    ) -> Result<Vec<VerifiedToken>, JwtError> {
        let mut worst = JwtError::Missing;
        for (index, provider) in self.rule.providers.iter().enumerate() {
            let keys = keys.get(index).and_then(Option::as_deref);
            match provider.verify(head, keys, now) {
                Ok(tokens) => {
                    let verified = tokens.into_iter().map(|claims| VerifiedToken {
                        provider: index,
                        claims,
                    });
                    return Ok(verified.collect());
                }
                Err(error) if error.rank() >= worst.rank() => worst = error,
                Err(_) => {}
            }
        }
        match self.rule.requirement {
            TokenRequirement::FailOpen => Ok(Vec::new()),
            TokenRequirement::Optional if worst == JwtError::Missing => Ok(Vec::new()),
            TokenRequirement::Optional | TokenRequirement::Required => Err(worst),
        }
    }
}

impl TokenProvider {
    /// A text that identifies the provider with all its settings. `authorization` finds verified tokens by
    /// this text, so a token of another policy's provider with the same name is not used.
    pub fn identity(&self) -> Result<String, serde_json::Error> {
        let settings = serde_json::to_vec(self)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &settings);
        Ok(format!(
            "{}#{}",
            self.name,
            HEXLOWER.encode(digest.as_ref())
        ))
    }

    /// Whether a request has a token in one of the provider's sources.
    fn has_token(&self, head: &request::Parts) -> bool {
        !self.sources.find(head).is_empty()
    }

    /// The claims of all tokens that the request has in the provider's token sources, such as headers and
    /// cookies. If one token is invalid, the result is an error.
    fn verify(
        &self,
        head: &request::Parts,
        keys: Option<&KeySet>,
        now: SystemTime,
    ) -> Result<Vec<Arc<Claims>>, JwtError> {
        let found = self.sources.find(head);
        if found.is_empty() {
            return Err(JwtError::Missing);
        }
        let tokens = found.iter().map(|text| self.verify_token(text, keys, now));
        tokens.collect()
    }

    fn verify_token(
        &self,
        text: &str,
        keys: Option<&KeySet>,
        now: SystemTime,
    ) -> Result<Arc<Claims>, JwtError> {
        if text.len() > MAX_TOKEN_LENGTH {
            return Err(JwtError::TooLong);
        }
        let check =
            |claims: &Claims| check_claims(claims, self.issuer.as_deref(), &self.audiences, now);
        if let Some(claims) = keys.and_then(|keys| verified_cache::find(keys.id, text)) {
            return check(&claims).map(|()| claims);
        }
        let token = UnverifiedToken::decode(text)?;
        check(&token.claims)?;
        let keys = keys.ok_or(JwtError::KeysUnavailable)?;
        keys.verify(&token)?;
        let claims = Arc::new(token.claims);
        verified_cache::insert(keys.id, text, &claims);
        Ok(claims)
    }
}

#[cfg(test)]
mod tests;
