//! The policies of a rule, in the order in which they run.

use std::sync::Arc;

use super::{BuiltPolicy, PolicyRequest, Stage, WaitingPolicy};
use crate::LocalReply;

/// The policies of a rule, sorted by stage. Policies of the same stage keep their order.
#[derive(Debug, Default)]
pub(crate) struct PolicyChain(Box<[(Stage, BuiltPolicy)]>);

/// Position in a [`PolicyChain`]: the index of the next policy to run for a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ChainCursor(usize);

/// Reason why running the policies has stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ChainStop {
    /// All policies have run.
    End,
    /// The next policy must wait.
    Waits,
    /// A policy of this stage has requested that the route is matched again.
    RecomputeRoute(Stage),
}

impl PolicyChain {
    pub(crate) fn new(mut policies: Vec<(Stage, BuiltPolicy)>) -> Self {
        policies.sort_by_key(|(stage, _)| *stage);
        Self(policies.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Policies that cannot be enforced at the moment, with the reasons.
    #[cfg(feature = "gateway")]
    pub(crate) fn faults(&self) -> impl Iterator<Item = (Stage, String)> {
        let policies = self.0.iter();
        policies.filter_map(|(stage, policy)| Some((*stage, policy.fault()?)))
    }

    /// The first policy whose stage is later than `stage`.
    pub(crate) fn after(&self, stage: Stage) -> ChainCursor {
        ChainCursor(self.0.partition_point(|(known, _)| *known <= stage))
    }

    /// The policy at `cursor`, if it is a waiting policy.
    pub(crate) fn waiting(&self, cursor: ChainCursor) -> Option<&Arc<dyn WaitingPolicy>> {
        match self.0.get(cursor.0) {
            Some((_, BuiltPolicy::Waiting(policy))) => Some(policy),
            Some((_, BuiltPolicy::Head(_) | BuiltPolicy::Body(_))) | None => None,
        }
    }

    /// Advances past the waiting policy at `cursor`, which has run.
    pub(crate) fn complete(
        &self,
        cursor: &mut ChainCursor,
        request: &mut PolicyRequest<'_>,
    ) -> Option<ChainStop> {
        let (stage, _) = self.0.get(cursor.0)?;
        cursor.0 += 1;
        request
            .take_recompute_route()
            .then_some(ChainStop::RecomputeRoute(*stage))
    }

    /// Runs policies from `cursor` up to the first one that must wait.
    pub(crate) fn run(
        &self,
        cursor: &mut ChainCursor,
        request: &mut PolicyRequest<'_>,
    ) -> Result<ChainStop, LocalReply> {
        while let Some((_, policy)) = self.0.get(cursor.0) {
            match policy {
                BuiltPolicy::Head(policy) => policy.check(request)?,
                BuiltPolicy::Body(policy) => policy.wrap(request)?,
                BuiltPolicy::Waiting(_) => return Ok(ChainStop::Waits),
            }
            if let Some(stop) = self.complete(cursor, request) {
                return Ok(stop);
            }
        }
        Ok(ChainStop::End)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::{HeadPolicy, RequestFacts, RequestHead, ResponseEffects};
    use super::*;
    use crate::Body;

    /// A policy that appends its name to the field `x-order`.
    struct Named(&'static str);

    impl HeadPolicy for Named {
        fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
            let headers = &mut request.head.headers;
            headers.append("x-order", self.0.parse().unwrap());
            Ok(())
        }
    }

    fn named(name: &'static str) -> BuiltPolicy {
        BuiltPolicy::head(Named(name))
    }

    #[test]
    fn policies_run_in_the_order_of_their_stages() {
        let chain = PolicyChain::new(vec![
            (Stage::LocalRateLimit, named("limit")),
            (Stage::Jwt, named("jwt 1")),
            (Stage::Cors, named("cors")),
            (Stage::Jwt, named("jwt 2")),
        ]);
        let (mut head, ()) = Request::new(()).into_parts();
        let (mut effects, mut body) = (ResponseEffects::default(), Body::empty());
        let mut cursor = ChainCursor::default();

        let request = RequestHead::new(&mut head, RequestFacts::default(), &mut effects);
        let stop = chain.run(&mut cursor, &mut PolicyRequest::new(request, &mut body));

        assert_eq!(stop, Ok(ChainStop::End));
        let order: Vec<_> = head.headers.get_all("x-order").iter().collect();
        assert_eq!(order, ["cors", "jwt 1", "jwt 2", "limit"]);
    }

    #[test]
    fn a_request_enters_the_chain_of_a_new_route_behind_the_stage_that_it_has_passed() {
        let chain = PolicyChain::new(vec![
            (Stage::Cors, named("cors")),
            (Stage::Jwt, named("jwt")),
            (Stage::Authorization, named("authorization")),
        ]);

        assert_eq!(chain.after(Stage::Jwt), ChainCursor(2));
        assert_eq!(chain.after(Stage::ResponseOverride), ChainCursor(0));
        assert_eq!(chain.after(Stage::LocalRateLimit), ChainCursor(3));
    }
}
