//! SecurityPolicy: access control.

use towergate_policy::check::FieldRemarks;
use towergate_policy::common::Targets;
use towergate_policy::merge::merge;
use towergate_policy::security::apply_annotations;
use towergate_policy::{FieldError, Policy, SecurityPolicySpec};

use super::Unusable;
use super::context::PolicyContext;
use super::effective::RoutePolicySpec;

impl RoutePolicySpec for SecurityPolicySpec {
    const KIND: &'static str = "SecurityPolicy";
    type Effect = Vec<Policy>;

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

    fn effect(&self, context: &PolicyContext<'_, '_>) -> Result<Vec<Policy>, Unusable> {
        let mut policies = self.policies(context)?;
        apply_annotations(&context.annotations, &mut policies)?;
        Ok(policies)
    }
}
