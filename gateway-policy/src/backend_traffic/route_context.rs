//! The input of a conversion in addition to the spec.

use std::collections::BTreeMap;

use crate::References;

/// Information about a policy and the place where it is applied.
#[derive(Clone, Copy, Debug)]
pub struct RouteContext<'a> {
    /// `namespace/name` of the policy. Routes of one policy share the limits with `shared: true`.
    pub policy: &'a str,
    /// Whether the listener sends `x-ratelimit-*` (`HeaderSettings::rate_limit_headers`).
    pub rate_limit_headers: bool,
    /// `namespace/name` of the Gateway and the name of the listener: the domain of the policy's global limits.
    pub listener: &'a str,
    /// Objects that the policy refers to.
    pub references: &'a dyn References,
    /// Annotations of the policy, and, if it is merged, the annotations of its parent that it does
    /// not override. Only annotations with the prefix
    /// [`ANNOTATION_PREFIX`](super::ANNOTATION_PREFIX) have an effect.
    pub annotations: &'a BTreeMap<String, String>,
}
