//! EnvoyExtensionPolicy and EnvoyPatchPolicy: not supported, so that their targets fail closed.
//!
//! An object is valid if all of its extensions set `failOpen`; it then has no effect on requests. With the
//! default `mergeType`, the object replaces a less specific object. If it is merged with a less specific
//! object, requests pass only if the extensions of both set `failOpen`.

use towergate_policy::FieldError;
use towergate_policy::check::FieldRemarks;
use towergate_policy::common::Targets;

use super::Unusable;
use super::context::PolicyContext;
use super::effective::RoutePolicySpec;
use crate::api::policy::{EnvoyExtensionPolicySpec, EnvoyPatchPolicySpec};

macro_rules! unsupported {
    ($spec:ident = $kind:literal, merges: $merges:expr) => {
        impl RoutePolicySpec for $spec {
            const KIND: &'static str = $kind;
            type Effect = ();

            fn targets(&self) -> Targets<'_> {
                self.targets()
            }

            fn remarks(&self) -> FieldRemarks {
                FieldRemarks::default()
            }

            fn merges(&self) -> bool {
                let merges: fn(&Self) -> bool = $merges;
                merges(self)
            }

            fn merged(&self, _parent: &Self, _namespace: &str) -> Result<Self, FieldError> {
                Ok(self.clone())
            }

            fn without_effect() -> Option<&'static str> {
                Some(concat!(
                    $kind,
                    " is not supported; requests pass without the policy, as failOpen permits"
                ))
            }

            fn effect(&self, _context: &PolicyContext<'_, '_>) -> Result<(), Unusable> {
                Ok(())
            }
        }
    };
}

unsupported!(EnvoyExtensionPolicySpec = "EnvoyExtensionPolicy", merges: |spec| {
    !matches!(spec.merge_type.as_deref(), None | Some("Replace"))
});
unsupported!(EnvoyPatchPolicySpec = "EnvoyPatchPolicy", merges: |_| false);
