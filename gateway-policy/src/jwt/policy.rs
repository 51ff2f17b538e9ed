//! JWT authentication as a policy.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use http::{StatusCode, request};
use towergate_core::LocalReply;
use towergate_core::policy::Live;
use towergate_core::policy::{
    BuildContext, BuiltPolicy, FilledFields, HeadPolicy, PolicyError, PolicyFuture, PolicyRequest,
    RequestHead, WaitingPolicy,
};

use super::remote::RemoteKeySet;
use super::{
    JwtAuthentication, JwtError, JwtVerifier, KeySet, KeySource, RemoteKeys, VerifiedToken,
    VerifiedTokens,
};
use crate::challenge::challenge;

/// Admits requests with a valid token of one of the providers.
#[derive(Debug)]
pub struct JwtPolicy {
    rule: JwtAuthentication,
    names: Vec<Arc<str>>,
    keys: Vec<ProviderKeys>,
    /// The key sets that are available without waiting, one entry for each provider. `None`: the key set is
    /// not available.
    local: Vec<Option<Arc<KeySet>>>,
}

/// The keys of a provider.
#[derive(Debug)]
enum ProviderKeys {
    Local(Arc<KeySet>),
    Remote(Arc<RemoteKeySet>),
}

impl JwtPolicy {
    /// A policy for `rule`, whose key sets must all be local.
    ///
    /// # Errors
    /// If a key set cannot be used, or is remote.
    pub fn new(rule: &JwtAuthentication) -> Result<Self, PolicyError> {
        let remote = |_: &RemoteKeys| {
            let reason = "a remote key set requires a client for it";
            Err(PolicyError::new(reason))
        };
        Self::with(rule, &Live::default(), remote)
    }

    /// Builds the policy: a waiting policy if a key set is remote, else a head policy.
    pub(crate) fn built(
        rule: &JwtAuthentication,
        context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError> {
        let remote = |source: &RemoteKeys| RemoteKeySet::shared(source, context);
        let policy = Self::with(rule, context.live, remote)?;
        let remote = |keys: &ProviderKeys| matches!(keys, ProviderKeys::Remote(_));
        Ok(if policy.keys.iter().any(remote) {
            BuiltPolicy::waiting(policy)
        } else {
            BuiltPolicy::head(policy)
        })
    }

    fn with(
        rule: &JwtAuthentication,
        live: &Live,
        mut remote: impl FnMut(&RemoteKeys) -> Result<Arc<RemoteKeySet>, PolicyError>,
    ) -> Result<Self, PolicyError> {
        let keys = rule.providers.iter().map(|provider| match &provider.keys {
            KeySource::Local(text) => {
                let keys = KeySet::shared(text.expose().as_bytes(), live);
                let name = &provider.name;
                let keys = keys.map_err(|e| PolicyError::new(format!("provider {name}: {e}")))?;
                Ok(ProviderKeys::Local(keys))
            }
            KeySource::Remote(source) => remote(source).map(ProviderKeys::Remote),
        });
        let names = rule.providers.iter().map(|provider| {
            let identity = provider.identity();
            let identity = identity.map_err(|error| PolicyError::new(error.to_string()))?;
            Ok(Arc::from(identity))
        });
        let keys: Vec<ProviderKeys> = keys.collect::<Result<_, _>>()?;
        let local = keys.iter().map(|keys| match keys {
            ProviderKeys::Local(keys) => Some(keys.clone()),
            ProviderKeys::Remote(_) => None,
        });
        Ok(Self {
            local: local.collect(),
            keys,
            names: names.collect::<Result<_, PolicyError>>()?,
            rule: rule.clone(),
        })
    }

    async fn all_keys(&self) -> Vec<Option<Arc<KeySet>>> {
        let mut all = Vec::with_capacity(self.keys.len());
        for keys in &self.keys {
            all.push(match keys {
                ProviderKeys::Local(keys) => Some(keys.clone()),
                ProviderKeys::Remote(remote) => remote.keys().await,
            });
        }
        all
    }

    fn admit(
        &self,
        request: &mut RequestHead<'_>,
        keys: &[Option<Arc<KeySet>>],
    ) -> Result<(), LocalReply> {
        let verifier = JwtVerifier::new(&self.rule);
        let result = verifier.verify(request.head, keys, SystemTime::now());
        // The fields are removed even if there is no token, so that the backend never receives a claim that
        // the client has set. They are removed only after the tokens have been read, because a token may be
        // in one of them.
        for header in self
            .rule
            .providers
            .iter()
            .flat_map(|provider| &provider.claim_headers)
        {
            FilledFields::reserve(request.head, &header.name);
        }
        let tokens = result.map_err(|error| refuse(request.head, error))?;
        self.forward_claims(request, tokens)
    }

    /// Adds the claim headers, and stores the claims for later policies.
    fn forward_claims(
        &self,
        request: &mut RequestHead<'_>,
        tokens: Vec<VerifiedToken>,
    ) -> Result<(), LocalReply> {
        let recompute = self
            .rule
            .providers
            .iter()
            .any(|provider| provider.recompute_route);
        let mut verified = VerifiedTokens::default();
        for token in tokens {
            for header in &self.rule.providers[token.provider].claim_headers {
                let value = header.value(&token.claims);
                let value = value.map_err(|_| invalid_claim(header.name.as_str()))?;
                if let Some(value) = value {
                    request.head.headers.insert(&*header.name, value);
                }
            }
            verified.add(self.names[token.provider].clone(), token.claims);
        }
        request.head.extensions.insert(verified);
        if recompute {
            request.recompute_route();
        }
        Ok(())
    }
}

fn refuse(head: &request::Parts, error: JwtError) -> LocalReply {
    let text = error.to_string();
    let extra = match error {
        JwtError::Missing => "",
        _ => ", error=\"invalid_token\"",
    };
    let (name, value) = challenge("Bearer", head, extra);
    let details = format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"));
    LocalReply::new(error.status(), Cow::Owned(details))
        .with_body(text)
        .with_header(name, value)
}

/// The reply to a claim that is not a valid field value, as in Envoy.
fn invalid_claim(name: &str) -> LocalReply {
    let text = format!("invalid header value for: {name}");
    let word = text.replace(' ', "_");
    let details = format!("filter_removed_required_request_headers{{{word}}}");
    LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, Cow::Owned(details))
        .with_body(text)
        .with_flag("DPE")
}

impl HeadPolicy for JwtPolicy {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        self.admit(request, &self.local)
    }
}

impl WaitingPolicy for JwtPolicy {
    fn fault(&self) -> Option<String> {
        self.keys.iter().find_map(|keys| match keys {
            ProviderKeys::Local(_) => None,
            ProviderKeys::Remote(remote) => remote.fault(),
        })
    }

    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            let mut providers = self.rule.providers.iter();
            // A request without a token does not wait for remote keys.
            if providers.any(|provider| provider.has_token(request.head)) {
                let keys = self.all_keys().await;
                return self.admit(request, &keys);
            }
            self.admit(request, &self.local)
        })
    }
}
