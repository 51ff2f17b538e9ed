//! Authorization (SecurityPolicy `authorization`): a list of rules. The first rule that matches a request
//! applies.
//!
//! All parts of a rule that are set must match. If no rule matches a request, the default action of the
//! policy applies. If the policy sets no default action, it is `Deny`. Denied requests receive the body of
//! Envoy's RBAC filter.

mod condition;
mod location;
mod operation;
mod policy;
mod principal;

pub use condition::{AccessExpression, Condition};
pub use location::{AnonymityMatch, LocationMatch};
pub use operation::{OperationMatch, OperationPath, PathComparison};
pub use policy::LocationAuthorization;
pub use principal::{ClaimMatch, ClaimTest, HeaderMatch, PrincipalMatch, TokenMatch};

use std::net::IpAddr;
use std::path::PathBuf;

use http::{StatusCode, Version, request};
use serde::{Deserialize, Serialize};
use towergate_core::LocalReply;
use towergate_core::conn::ConnInfo;
use towergate_core::plan::{StreamAccess, StreamAccessRule};
use towergate_core::policy::{HeadPolicy, RequestHead};

use crate::geoip::GeoDatabaseSet;
use crate::jwt::VerifiedTokens;

/// Rules that allow or deny requests.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationRules {
    /// The rules, in order of evaluation.
    pub rules: Vec<AccessRule>,
    /// The action for requests that match no rule.
    pub default: Access,
    /// Paths of the GeoIP databases, if a rule compares locations. Otherwise empty.
    #[serde(default)]
    pub databases: Vec<PathBuf>,
}

/// A rule: conditions on a request, and the action on requests that match.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Name of the rule in printed plans and in `/config`. The access log does not contain the name, as in
    /// Envoy.
    pub name: String,
    /// Action on requests that match the rule.
    pub access: Access,
    /// Conditions on the sender of the request.
    pub principal: PrincipalMatch,
    /// Conditions on the method and path of the request.
    pub operation: OperationMatch,
    /// An additional condition. `None`: no condition.
    pub condition: Option<Condition>,
}

/// Action on a request.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Access {
    /// The request passes.
    Allow,
    /// The request is rejected with 403.
    #[default]
    Deny,
}

/// The data of a request on which the rules decide.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'r> {
    /// The request's head.
    pub head: &'r request::Parts,
    /// HTTP version of the request as received.
    pub version: Version,
    /// The client's address. `None`: unknown. An unknown address matches every rule that denies, and no rule
    /// that allows.
    pub client: Option<IpAddr>,
    /// The connection; `None`: unknown.
    pub connection: Option<&'r ConnInfo>,
    /// The verified tokens of the request.
    pub tokens: &'r VerifiedTokens,
    /// Databases of locations; `None`: the location of the client is unknown.
    pub databases: Option<&'r GeoDatabaseSet>,
}

impl AuthorizationRules {
    /// The rules for a connection without HTTP, where only the client's address is known. `None`: a rule
    /// depends on more than the address.
    pub fn for_streams(&self) -> Option<StreamAccess> {
        let rules = self.rules.iter().map(|rule| {
            let PrincipalMatch {
                networks,
                headers,
                token,
                locations,
            } = &rule.principal;
            let more = !headers.is_empty()
                || token.is_some()
                || locations.is_some()
                || rule.operation != OperationMatch::default()
                || rule.condition.is_some();
            (!more).then_some(())?;
            Some(StreamAccessRule {
                networks: networks.clone()?,
                allow: rule.access == Access::Allow,
            })
        });
        Some(StreamAccess {
            rules: rules.collect::<Option<_>>()?,
            allow_others: self.default == Access::Allow,
        })
    }

    /// The locations that the rules compare.
    fn locations(&self) -> impl Iterator<Item = &LocationMatch> {
        let principals = self.rules.iter().map(|rule| &rule.principal);
        principals.flat_map(|own| own.locations.iter().flatten())
    }

    /// Decides on a request.
    pub fn decide(&self, subject: &Subject<'_>) -> Access {
        let mut rules = self.rules.iter();
        let matched = rules.find(|rule| rule.matches(subject));
        matched.map_or(self.default, |rule| rule.access)
    }
}

impl HeadPolicy for AuthorizationRules {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        self.check_with(request, None)
    }
}

impl AuthorizationRules {
    /// Checks a request. `databases` locate the client.
    fn check_with(
        &self,
        request: &RequestHead<'_>,
        databases: Option<&GeoDatabaseSet>,
    ) -> Result<(), LocalReply> {
        let none = VerifiedTokens::default();
        let subject = Subject {
            head: request.head,
            version: request.client_version(),
            client: request.facts.client,
            connection: request.facts.connection,
            tokens: request.head.extensions.get().unwrap_or(&none),
            databases,
        };
        match self.decide(&subject) {
            Access::Allow => Ok(()),
            Access::Deny => {
                let details = "rbac_access_denied_matched_policy[DENY]";
                let reply = LocalReply::new(StatusCode::FORBIDDEN, details);
                Err(reply.with_body("RBAC: access denied"))
            }
        }
    }
}

impl AccessRule {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.operation.matches(subject.head)
            && self.principal.matches(subject, self.access)
            && self
                .condition
                .as_ref()
                .is_none_or(|own| own.matches(subject, self.access))
    }
}

#[cfg(test)]
mod tests;
