//! EnvoyExtensionPolicy and EnvoyPatchPolicy: not supported, so that their targets fail closed.
//!
//! An object is valid only if all of its extensions may fail open. A valid object has no effect, except that
//! it replaces a less specific one, unless it is merged with it: then the extensions of both must permit that requests
//! pass.

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
                    " is not supported; requests pass without it, as failOpen permits"
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
