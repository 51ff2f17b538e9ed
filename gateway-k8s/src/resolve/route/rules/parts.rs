//! The parts of a rule, read from an HTTPRoute or a GRPCRoute.

use towergate_policy::SchemaViolation;

use super::super::filters::{self, Filters};
use super::super::matches::RuleMatches;
use super::super::traffic::RuleTraffic;
use crate::api::grpc_route::GrpcRouteRule;
use crate::api::http_route::{HttpRouteRule, SessionPersistence};
use crate::api::reference::BackendObjectReference;
use crate::status::RouteReason;

/// The parts of a rule that both kinds of routes have.
pub(super) struct RuleParts {
    pub(super) name: Option<String>,
    pub(super) matches: RuleMatches,
    pub(super) filters: Filters,
    pub(super) traffic: Result<RuleTraffic, String>,
    pub(super) backends: Vec<BackendParts>,
    pub(super) session: Option<SessionPersistence>,
}

/// A backendRef.
pub(super) struct BackendParts {
    pub(super) object: BackendObjectReference,
    pub(super) weight: Option<i32>,
    pub(super) filters: Result<Filters, (RouteReason, String)>,
}

impl RuleParts {
    /// The parts of the rule at index `at` of an HTTPRoute with the unreadable fields `unread`.
    pub(super) fn http((at, rule): (usize, &HttpRouteRule), unread: &[SchemaViolation]) -> Self {
        Self {
            name: rule.name.clone(),
            matches: RuleMatches::http(&rule.matches, at, unread),
            filters: Filters::http(&rule.filters),
            traffic: RuleTraffic::resolve(rule.timeouts.as_deref(), rule.retry.as_deref()),
            backends: rule
                .backend_refs
                .iter()
                .map(|backend| BackendParts {
                    object: backend.object(),
                    weight: backend.weight,
                    filters: filters::of_backend(&backend.filters),
                })
                .collect(),
            session: rule.session_persistence.as_deref().cloned(),
        }
    }

    /// The parts of the rule at index `at` of a GRPCRoute with the unreadable fields `unread`.
    pub(super) fn grpc((at, rule): (usize, &GrpcRouteRule), unread: &[SchemaViolation]) -> Self {
        Self {
            name: rule.name.clone(),
            matches: RuleMatches::grpc(&rule.matches, at, unread),
            filters: Filters::grpc(&rule.filters),
            traffic: Ok(RuleTraffic::default()),
            backends: rule
                .backend_refs
                .iter()
                .map(|backend| BackendParts {
                    object: backend.object(),
                    weight: backend.weight,
                    filters: filters::of_grpc_backend(&backend.filters),
                })
                .collect(),
            session: rule.session_persistence.as_deref().cloned(),
        }
    }
}
