//! The spec of a SecurityPolicy.

use towergate_core::plan::{RouteKind, StreamAccess};

use super::{ApiKeyAuth, Authorization, BasicAuth, Cors, Csrf, ExtAuth, Jwt, Oidc};
use crate::api_struct::api_struct;
use crate::backend_traffic::MergeType;
use crate::check::{Report, count};
use crate::common::{TargetKind, TargetRef, TargetSelector, impl_targets};
use crate::field_path::FieldPath;
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
        merge_type: MergeType = "mergeType",
        /// Authentication by API key.
        api_key_auth: ApiKeyAuth = "apiKeyAuth",
        /// Cross-origin requests.
        cors: Cors = "cors",
        /// Protection against cross-site request forgery.
        csrf: Csrf = "csrf",
        /// HTTP Basic authentication.
        basic_auth: BasicAuth = "basicAuth",
        /// Authentication by JSON Web Token.
        jwt: Jwt = "jwt",
        /// Authentication by OpenID Connect.
        oidc: Oidc = "oidc",
        /// Authorization by an external service.
        ext_auth: ExtAuth = "extAuth",
        /// Rules that allow or deny requests.
        authorization: Authorization = "authorization",
    }
}

/// Kinds of objects that the policy may target.
const KINDS: [TargetKind; 5] = [
    TargetKind::Gateway,
    TargetKind::ListenerSet,
    TargetKind::Route(RouteKind::Http),
    TargetKind::Route(RouteKind::Grpc),
    TCP_ROUTE,
];

const TCP_ROUTE: TargetKind = TargetKind::Route(RouteKind::Tcp);

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
        let tcp = targets.refs().any(|t| t.target_kind() == Some(TCP_ROUTE));
        report.rule(
            !tcp || only_networks && count(&others) == 0,
            "a policy of a TCPRoute can only have authorization rules with clientCIDRs",
        );
    }

    /// The sections that protect requests and cannot protect connections of TCPRoutes, TLSRoutes and UDPRoutes:
    /// such connections are closed. `cors` and `csrf` protect browsers, so they do not matter for connections.
    pub fn sections_of_requests(&self) -> Vec<&'static str> {
        let rules = self.authorization.as_ref().and_then(|a| a.rules.as_ref());
        let of_requests = rules.is_some_and(|rules| !rules.iter().all(|r| r.is_only_networks()));
        let sections = [
            ("apiKeyAuth", self.api_key_auth.is_some()),
            ("basicAuth", self.basic_auth.is_some()),
            ("jwt", self.jwt.is_some()),
            ("oidc", self.oidc.is_some()),
            ("extAuth", self.ext_auth.is_some()),
            ("authorization", of_requests),
        ];
        let set = sections.into_iter().filter(|(_, is_set)| *is_set);
        set.map(|(name, _)| name).collect()
    }

    /// Converts the policy to values of the plan. The order of the values has no meaning: each has
    /// a fixed position in the request path.
    ///
    /// # Errors
    /// The first field that is not supported, or whose value or reference is invalid.
    pub fn policies(&self, references: &dyn References) -> Result<Vec<Policy>, FieldError> {
        Report::of(self).require_supported()?;
        let mut policies = Vec::new();
        let path = FieldPath::SPEC;
        if let Some(cors) = &self.cors {
            policies.push(Policy::Cors(cors.policy(path.field("cors"))?));
        }
        if let Some(csrf) = &self.csrf {
            policies.push(Policy::Csrf(csrf.policy(path.field("csrf"))?));
        }
        if let Some(service) = &self.ext_auth {
            let service = service.policy(path.field("extAuth"), references)?;
            policies.push(Policy::ExternalAuth(service));
        }
        if let Some(keys) = &self.api_key_auth {
            let keys = keys.policy(path.field("apiKeyAuth"), references)?;
            policies.push(Policy::ApiKey(keys));
        }
        if let Some(users) = &self.basic_auth {
            let users = users.policy(path.field("basicAuth"), references)?;
            policies.push(Policy::BasicAuth(users));
        }
        let mut providers = Vec::new();
        if let Some(jwt) = &self.jwt {
            let jwt = jwt.policy(path.field("jwt"), references)?;
            for provider in &jwt.providers {
                let identity = provider.identity();
                let identity = identity.map_err(|e| FieldError::invalid("spec.jwt", e))?;
                providers.push((provider.name.clone(), identity));
            }
            if let Some(oidc) = &self.oidc {
                let oidc = oidc.policy(path.field("oidc"), references, Some(&jwt))?;
                policies.push(Policy::Oidc(Box::new(oidc)));
            }
            policies.push(Policy::Jwt(jwt));
        } else if let Some(oidc) = &self.oidc {
            let oidc = oidc.policy(path.field("oidc"), references, None)?;
            policies.push(Policy::Oidc(Box::new(oidc)));
        }
        if let Some(rules) = &self.authorization {
            let rules = rules.policy(path.field("authorization"), &providers, references)?;
            policies.push(Policy::Authorization(rules));
        }
        if self.targets().kinds().any(|kind| kind == Some(TCP_ROUTE)) {
            // Connections of TCPRoutes are closed if the policy is not supported for them. The status must
            // therefore report an error.
            stream_access(&policies)?;
        }
        Ok(policies)
    }
}

/// The clients that may open connections of a TCPRoute, TLSRoute or UDPRoute under `policies`. `None`: all.
///
/// # Errors
/// A policy depends on requests.
pub fn stream_access(policies: &[Policy]) -> Result<Option<StreamAccess>, FieldError> {
    let for_requests = || {
        FieldError::invalid(
            "spec",
            "connections have no requests: only authorization rules with clientCIDRs apply to them",
        )
    };
    // These protect the users of browsers and no connection.
    let of_browsers = |policy: &&Policy| matches!(policy, Policy::Cors(_) | Policy::Csrf(_));
    let mut policies = policies.iter().filter(|policy| !of_browsers(policy));
    match (policies.next(), policies.next()) {
        (None, _) => Ok(None),
        (Some(Policy::Authorization(rules)), None) => {
            rules.for_streams().map(Some).ok_or_else(for_requests)
        }
        (Some(_), _) => Err(for_requests()),
    }
}
