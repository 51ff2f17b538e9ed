//! The spec of a SecurityPolicy.

use super::{ApiKeyAuth, Authorization, BasicAuth, Cors, Csrf, ExtAuth, Jwt, Oidc};
use crate::api_struct::api_struct;
use crate::backend_traffic::MergeType;
use crate::check::{Report, count};
use crate::common::{TargetRef, TargetSelector, impl_targets};
use crate::{FieldError, Policy, References};

api_struct! {
    /// Authentication and authorization of requests.
    pub struct SecurityPolicySpec, rules {
        /// Target of the policy.
        target_ref: TargetRef = "targetRef" Deprecated("targetRefs"),
        /// Targets of the policy: Gateways, ListenerSets, listeners, routes, or rules of routes.
        target_refs: Vec<TargetRef> = "targetRefs",
        /// Further targets, selected by labels.
        target_selectors: Vec<TargetSelector> = "targetSelectors",
        /// How the policy is merged with the most specific policy of its parents. Default: it replaces
        /// the parent's policy.
        merge_type: MergeType = "mergeType" Unsupported,
        /// Authentication by API key.
        api_key_auth: ApiKeyAuth = "apiKeyAuth" Unsupported,
        /// Cross-origin requests.
        cors: Cors = "cors" Unsupported,
        /// Protection against cross-site request forgery.
        csrf: Csrf = "csrf" Unsupported,
        /// HTTP Basic authentication.
        basic_auth: BasicAuth = "basicAuth" Unsupported,
        /// Authentication by JSON Web Token.
        jwt: Jwt = "jwt" Unsupported,
        /// Authentication by OpenID Connect.
        oidc: Oidc = "oidc" Unsupported,
        /// Authorization by an external service.
        ext_auth: ExtAuth = "extAuth" Unsupported,
        /// Rules that allow or deny requests.
        authorization: Authorization = "authorization" Unsupported,
    }
}

/// Kinds of targets.
const KINDS: [&str; 5] = [
    "Gateway",
    "ListenerSet",
    "HTTPRoute",
    "GRPCRoute",
    "TCPRoute",
];

impl_targets!(SecurityPolicySpec);

impl SecurityPolicySpec {
    fn rules(&self, report: &mut Report) {
        let targets = self.targets();
        targets.check(&KINDS, report);
        targets.check_merge_type(self.merge_type.is_some(), report);
        report.rule(
            self.merge_type != Some(MergeType::Replace),
            "Replace is not a valid MergeType for SecurityPolicy",
        );
        let rules = self.authorization.as_ref().and_then(|a| a.rules.as_ref());
        let only_networks = rules.is_none_or(|rules| rules.iter().all(|r| r.is_only_networks()));
        let others = [
            self.api_key_auth.is_some(),
            self.cors.is_some(),
            self.csrf.is_some(),
            self.basic_auth.is_some(),
            self.jwt.is_some(),
            self.oidc.is_some(),
            self.ext_auth.is_some(),
        ];
        let tcp = targets
            .refs()
            .any(|t| t.kind.as_deref() == Some("TCPRoute"));
        report.rule(
            !tcp || only_networks && count(&others) == 0,
            "a policy of a TCPRoute can only have authorization rules with clientCIDRs",
        );
    }

    /// Converts the policy to values of the plan. No section is supported yet, so a valid result is
    /// empty.
    ///
    /// # Errors
    /// The first field that is not supported.
    pub fn policies(&self, _references: &dyn References) -> Result<Vec<Policy>, FieldError> {
        Report::of(self).require_supported()?;
        Ok(Vec::new())
    }
}
