//! Policies of the current configuration that cannot be enforced.
//!
//! The rules of these policies fail closed. Metrics and the admin endpoints show the list; requests do not
//! use it.

use std::sync::Arc;

use super::{RuleSnapshot, SnapshotHandle};
use crate::plan::RouteId;
use crate::policy::Stage;

/// A policy that cannot be enforced. Requests to its rule receive an error.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PolicyFault {
    /// Route of the rule.
    pub route: Arc<RouteId>,
    /// Index of the rule in its route.
    pub rule: usize,
    /// Stage of the policy, which identifies the kind of the policy.
    pub stage: Stage,
    /// The reason, as a clause without a full stop. It contains no secret.
    pub reason: String,
}

/// For a running [`Gateway`](crate::Gateway), lists the policies that cannot be enforced.
#[derive(Clone, Debug)]
pub struct PolicyFaults(Arc<SnapshotHandle>);

impl PolicyFaults {
    pub(crate) fn new(handle: Arc<SnapshotHandle>) -> Self {
        Self(handle)
    }

    /// The current faults, sorted. A temporary fault, such as a missing database, disappears as soon as the
    /// policy works again.
    pub fn list(&self) -> Vec<PolicyFault> {
        let snapshot = self.0.load();
        let mut faults: Vec<_> = snapshot
            .guarded
            .iter()
            .flat_map(GuardedRule::faults)
            .collect();
        // A rule may have been built several times, once for each of its listeners.
        faults.sort();
        faults.dedup();
        faults
    }
}

/// A rule with policies.
#[derive(Debug)]
pub(crate) struct GuardedRule {
    pub(super) route: Arc<RouteId>,
    pub(super) rule: usize,
    pub(super) built: Arc<RuleSnapshot>,
}

impl GuardedRule {
    fn faults(&self) -> impl Iterator<Item = PolicyFault> {
        let steps = &self.built.steps;
        let unbuilt = steps.unbuilt.as_deref();
        let unbuilt = unbuilt.map(|(stage, error)| (*stage, error.to_string()));
        let faults = unbuilt.into_iter().chain(steps.policies.faults());
        faults.map(|(stage, reason)| PolicyFault {
            route: self.route.clone(),
            rule: self.rule,
            stage,
            reason,
        })
    }
}
