//! The policies of a plan, in front of any HTTP service.

use std::sync::Arc;

use towergate_tls::rustls::crypto::CryptoProvider;

use super::chain::PolicyChain;
use super::{BuildContext, PolicyError, PolicyLayer, RoutePolicy};
use crate::live::Live;
use crate::plan::{Match, RouteId, RouteKind, Rule, Traffic};

impl PolicyLayer {
    /// A layer that applies `policies` in the order of their stages, as a rule of a gateway does. Their calls to
    /// other services use `provider` for TLS.
    ///
    /// # Errors
    /// A policy cannot be built, such as one with a key set that is invalid.
    pub fn of_policies<P: RoutePolicy>(
        policies: Vec<P>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, PolicyError> {
        let route = Arc::new(RouteId {
            kind: RouteKind::Http,
            namespace: String::new(),
            name: "layer".to_owned(),
        });
        let rule = Rule {
            route: route.clone(),
            index: 0,
            name: None,
            matches: vec![Match::default()],
            policies,
            filters: Vec::new(),
            traffic: Arc::new(Traffic::default()),
            backends: Vec::new(),
            respond: None,
        };
        // Shared state belongs to its users, so that it outlives `live`.
        let live = Live::default();
        let context = BuildContext::new(&live, provider, &route, 0);
        let built = rule.policies.iter().map(|policy| {
            let built = policy.build(&rule, &context)?;
            Ok((policy.stage(), built))
        });
        let chain = PolicyChain::new(built.collect::<Result<_, _>>()?);
        Ok(Self(Arc::new(chain)))
    }
}
