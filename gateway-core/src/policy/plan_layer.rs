//! Layer that applies the policies of a plan in front of any HTTP service.

use std::sync::Arc;

use towergate_tls::rustls::crypto::CryptoProvider;

use super::chain::PolicyChain;
use super::{BuildContext, PolicyError, PolicyLayer, RoutePolicy};
use crate::live::Live;
use crate::plan::{Match, RouteId, RouteKind, Rule, Traffic};

impl PolicyLayer {
    /// Creates a layer that applies `policies` in the order of their stages, like a rule of a gateway. Calls
    /// of the policies to other services use `provider` for TLS.
    ///
    /// # Errors
    /// Fails if a policy cannot be built, for example because its key set is invalid.
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
        // `live` may be dropped afterwards: the policies hold references to the state that they share.
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
