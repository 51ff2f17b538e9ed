//! Builds policies that can run from the policies of a plan, which are plain data.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towergate_tls::rustls::crypto::CryptoProvider;

use super::{BuiltPolicy, Stage};
use crate::live::Live;
use crate::plan::{RouteId, Rule, Traffic, WeightedBackend};
use crate::traffic::InternalClient;

/// A policy of a plan. It is plain data, from which each rule builds a policy that can run.
pub trait RoutePolicy: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Position in the request path.
    fn stage(&self) -> Stage;

    /// Builds the policy for `rule`.
    ///
    /// # Errors
    /// The reason why the policy cannot run. The rule then returns 500; other rules are not affected.
    fn build(
        &self,
        rule: &Rule<Self>,
        context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError>;
}

/// Reason why a policy cannot run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

impl PolicyError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Context in which a policy is built. Policies use it for calls to services, because they must not open
/// connections themselves.
#[derive(Debug)]
#[non_exhaustive]
pub struct BuildContext<'a> {
    /// State that is kept across configuration changes: counters, caches, key sets.
    pub live: &'a Live,
    /// Cryptography for TLS, signatures and digests.
    pub provider: &'a Arc<CryptoProvider>,
    /// Route of the rule.
    pub route: &'a Arc<RouteId>,
    /// Index of the rule in its route.
    pub rule: usize,
}

impl<'a> BuildContext<'a> {
    /// Creates the context for rule `rule` of `route`.
    pub fn new(
        live: &'a Live,
        provider: &'a Arc<CryptoProvider>,
        route: &'a Arc<RouteId>,
        rule: usize,
    ) -> Self {
        Self {
            live,
            provider,
            route,
            rule,
        }
    }

    /// Builds an HTTP client with which the policy calls a service. The client uses the gateway's own
    /// connections to backends. Endpoints, pool, TLS, retries and circuit breaker are determined by
    /// `backends` and `traffic`. `purpose` distinguishes the clients of one rule.
    pub fn http_client(
        &self,
        purpose: &'static str,
        backends: &[WeightedBackend],
        traffic: Arc<Traffic>,
    ) -> InternalClient {
        let key = (self.route.clone(), self.rule, purpose);
        InternalClient::new(key, traffic, backends, self.live, self.provider)
    }
}

/// The policy type of a plan without policies.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum NoPolicy {}

impl RoutePolicy for NoPolicy {
    fn stage(&self) -> Stage {
        match *self {}
    }

    fn build(
        &self,
        _rule: &Rule<Self>,
        _context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError> {
        match *self {}
    }
}
