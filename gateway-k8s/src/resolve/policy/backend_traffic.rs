//! BackendTrafficPolicy: how requests of a rule travel.

use towergate_core::plan::Traffic;
use towergate_policy::backend_traffic::{self, BackendTrafficPolicySpec, Context};
use towergate_policy::common::{Deprecated, Targets};
use towergate_policy::{Invalid, Policy};

use super::Unusable;
use super::attach::RouteSpec;

/// What a BackendTrafficPolicy sets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrafficEffect {
    /// How requests travel.
    pub(crate) traffic: Traffic,
    /// What guards them.
    pub(crate) policies: Vec<Policy>,
}

impl RouteSpec for BackendTrafficPolicySpec {
    const KIND: &'static str = "BackendTrafficPolicy";
    type Effect = TrafficEffect;

    fn targets(&self) -> Targets<'_> {
        self.targets()
    }

    fn faults(&self) -> Vec<Invalid> {
        self.validate()
    }

    fn old_fields(&self) -> Vec<Deprecated> {
        self.deprecated()
    }

    fn merges(&self) -> bool {
        self.merge_type.is_some()
    }

    fn merged(&self, parent: &Self) -> Self {
        backend_traffic::merge(parent, self)
    }

    fn effect(&self, policy: &str, headers: bool) -> Result<TrafficEffect, Unusable> {
        let converted = self.traffic(Context {
            policy,
            rate_limit_headers: headers,
        })?;
        Ok(TrafficEffect {
            traffic: converted.traffic,
            policies: converted.policies,
        })
    }
}
