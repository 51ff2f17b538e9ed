//! Findings about rules, by reason of the condition.

use crate::finding::FindingCode;
use crate::status::RouteReason;

/// Part of a rule that an error affects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RulePart {
    /// The list of rules.
    Rules,
    /// The whole rule.
    Rule,
    /// A match of the rule.
    Match,
    /// A mirror.
    Mirror,
    /// A share of the requests.
    Requests,
    /// A share of the connections.
    Connections,
    /// A share of the datagrams.
    Datagrams,
}

impl RulePart {
    /// Advice, with the effect of the error.
    const fn advice(self) -> &'static str {
        match self {
            Self::Rules => "keep one rule, and move the others to their own routes",
            Self::Rule => "correct or remove the field; until then the rule returns 500",
            Self::Match => {
                "correct the match; until then the rule returns 500 for every request that it may match"
            }
            Self::Mirror => "correct the reference; until then no requests are mirrored to it",
            Self::Requests => {
                "correct the reference; until then its share of the requests gets 500"
            }
            Self::Connections => {
                "correct the reference; until then its share of the connections is closed"
            }
            Self::Datagrams => {
                "correct the reference; until then its share of the datagrams is dropped"
            }
        }
    }
}

/// Code and advice for an error of a rule.
pub(super) const fn of_rule(reason: RouteReason, part: RulePart) -> (FindingCode, &'static str) {
    use RouteReason as R;
    let code = match reason {
        R::RefNotPermitted => FindingCode::ReferenceNotGranted,
        R::BackendNotFound => FindingCode::BackendNotFound,
        R::PortNotFound | R::PortNotSpecified => FindingCode::BackendPort,
        R::EndpointsNotFound => FindingCode::NoEndpoints,
        R::Accepted
        | R::IncompatibleFilters
        | R::InvalidAddress
        | R::InvalidBackendFilters
        | R::InvalidBackendRef
        | R::InvalidBackendTls
        | R::InvalidKind
        | R::InvalidRule
        | R::NoMatchingListenerHostname
        | R::NoMatchingParent
        | R::NotAllowedByListeners
        | R::ResolvedRefs
        | R::RouteRulesOverlap
        | R::UnsupportedAddressType
        | R::UnsupportedRefValue
        | R::UnsupportedValue => return (FindingCode::RuleInvalid, part.advice()),
    };
    (code, code.advice())
}
