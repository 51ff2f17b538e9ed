//! BackendTrafficPolicy: traffic settings of rules.

use towergate_core::plan::Traffic;
use towergate_policy::backend_traffic::{BackendTrafficPolicySpec, RouteContext};
use towergate_policy::check::FieldRemarks;
use towergate_policy::common::Targets;
use towergate_policy::merge::merge;
use towergate_policy::{FieldError, Policy};

use super::Unusable;
use super::context::PolicyContext;
use super::effective::RoutePolicySpec;

/// Enforced settings of a BackendTrafficPolicy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrafficEffect {
    /// Traffic settings.
    pub(crate) traffic: Traffic,
    /// Policies in the request path.
    pub(crate) policies: Vec<Policy>,
    /// Whether requests are sent to the cluster address of a Service instead of its endpoints. `None`: as the
    /// EnvoyProxy of the Gateway states.
    pub(crate) service_address: Option<bool>,
}

impl RoutePolicySpec for BackendTrafficPolicySpec {
    const KIND: &'static str = "BackendTrafficPolicy";
    type Effect = TrafficEffect;

    fn targets(&self) -> Targets<'_> {
        self.targets()
    }

    fn remarks(&self) -> FieldRemarks {
        self.remarks()
    }

    fn merges(&self) -> bool {
        self.merge_type.is_some()
    }

    fn merged(&self, parent: &Self, namespace: &str) -> Result<Self, FieldError> {
        merge(parent, namespace, self)
    }

    fn counts_by_listener(&self) -> bool {
        self.has_global_limits()
    }

    fn effect(&self, context: &PolicyContext<'_, '_>) -> Result<TrafficEffect, Unusable> {
        let converted = self.traffic(RouteContext {
            policy: context.policy,
            rate_limit_headers: context.rate_limit_headers,
            listener: context.listener,
            references: context,
            annotations: &context.annotations,
        })?;
        Ok(TrafficEffect {
            traffic: converted.traffic,
            policies: converted.policies,
            service_address: converted.service_address,
        })
    }
}
