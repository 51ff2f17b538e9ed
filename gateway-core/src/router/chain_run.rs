//! Step 8 of the request path, as numbered in [`super`]: policies, then the translation of gRPC-Web.

use std::pin::pin;

use http::{Version, request};

use super::exchange::Exchange;
use super::request_context::{
    RequestContext, RequestParts, ResponseState, RoutedRequest, SanitizedRequest,
};
use crate::grpc_web::GrpcWeb;
use crate::policy::chain::{ChainCursor, ChainStop};
use crate::policy::{BodyPolicy, PolicyRequest, RequestFacts, RequestHead, Stage};
use crate::snapshot::RuleTarget;
use crate::{Error, LocalReply};

impl<'a> RequestContext<'a> {
    /// Runs step 8 up to the first policy that must wait. Returns `true` if there is such a policy, and
    /// `false` if all policies have run. If a policy requires the route to be matched again, the chain of the
    /// new rule continues after the stage of that policy. Stages only increase, so the loop terminates.
    pub(super) fn run_policies(
        &self,
        cursor: &mut ChainCursor,
        routed: &mut RoutedRequest<'a>,
        parts: &mut RequestParts<'_>,
        state: &mut ResponseState<'_>,
    ) -> Result<bool, LocalReply> {
        loop {
            let target = routed.found.payload;
            let facts = self.facts(&routed.clean, target);
            let head = RequestHead::new(parts.head, facts, state.effects);
            let mut request = PolicyRequest::new(head, &mut parts.body);
            let stop = target.rule.steps.policies.run(cursor, &mut request);
            if let Some(path) = request.take_logged_path() {
                state.exchange.note_path(path);
            }
            match stop? {
                ChainStop::End => return Ok(false),
                ChainStop::Waits => return Ok(true),
                ChainStop::RecomputeRoute(stage) => {
                    *cursor = self.recompute_route(stage, routed, parts.head, state.exchange)?;
                }
            }
        }
    }

    /// Runs step 8 from a policy that must wait to the last policy. The time limits of the client's side
    /// apply, because a policy may wait for the request body.
    pub(super) async fn wait_for_policies(
        &self,
        mut cursor: ChainCursor,
        routed: &mut RoutedRequest<'a>,
        parts: &mut RequestParts<'_>,
        state: &mut ResponseState<'_>,
    ) -> Result<(), LocalReply> {
        loop {
            let target = routed.found.payload;
            let chain = &target.rule.steps.policies;
            if let Some(policy) = chain.waiting(cursor) {
                let facts = self.facts(&routed.clean, target);
                let head = RequestHead::new(parts.head, facts, state.effects);
                let mut request = PolicyRequest::new(head, &mut parts.body);
                let exchange = &*state.exchange;
                let (timeouts, progress) = (exchange.timeouts, exchange.progress());
                timeouts
                    .run(pin!(policy.run(&mut request)), progress, None)
                    .await??;
                let stop = chain.complete(&mut cursor, &mut request);
                if let Some(ChainStop::RecomputeRoute(stage)) = stop {
                    cursor = self.recompute_route(stage, routed, parts.head, state.exchange)?;
                }
            }
            if !self.run_policies(&mut cursor, routed, parts, state)? {
                return Ok(());
            }
        }
    }

    /// Translates a gRPC-Web request to gRPC, and later its response back to gRPC-Web. The translation
    /// follows the policies of the rule, so the policies receive the original request.
    pub(super) fn translate_grpc_web(
        &self,
        routed: &RoutedRequest<'_>,
        parts: &mut RequestParts<'_>,
        state: &mut ResponseState<'_>,
    ) -> Result<(), LocalReply> {
        let facts = self.facts(&routed.clean, routed.found.payload);
        let head = RequestHead::new(parts.head, facts, state.effects);
        GrpcWeb.wrap(&mut PolicyRequest::new(head, &mut parts.body))?;
        // If the backend protocol follows the client's HTTP version, it must be HTTP/2, as gRPC requires.
        parts.head.version = Version::HTTP_2;
        Ok(())
    }

    /// Matches the route again. Returns the position in the chain of the new rule.
    fn recompute_route(
        &self,
        stage: Stage,
        routed: &mut RoutedRequest<'a>,
        head: &request::Parts,
        exchange: &mut Exchange,
    ) -> Result<ChainCursor, Error> {
        routed.found = self.match_route(head, &routed.clean, exchange)?;
        Ok(routed.found.payload.rule.steps.policies.after(stage))
    }

    fn facts<'f>(&'f self, clean: &SanitizedRequest, target: &'f RuleTarget) -> RequestFacts<'f> {
        RequestFacts {
            client: Some(clean.client.0),
            version: Some(clean.sanitized.version),
            connection: Some(self.conn),
            route: Some(&target.name),
            ..RequestFacts::default()
        }
    }
}
