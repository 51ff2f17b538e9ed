//! Input for the conversion of a spec, in addition to the spec itself.

use std::collections::BTreeMap;

use crate::References;

/// Information about a policy and the place where it is applied.
#[derive(Clone, Copy, Debug)]
pub struct RouteContext<'a> {
    /// `namespace/name` of the policy. All routes of the policy share its limits with `shared: true`.
    pub policy: &'a str,
    /// Whether the listener sends the header fields `x-ratelimit-*` (`HeaderSettings::rate_limit_headers`).
    pub rate_limit_headers: bool,
    /// `namespace/name` of the Gateway and the name of the listener: the domain of the policy's global limits.
    pub listener: &'a str,
    /// Objects that the policy refers to.
    pub references: &'a dyn References,
    /// Annotations of the policy. If the policy is merged with its parent, the map also contains the parent's
    /// annotations that the policy does not override. Only annotations with the prefix
    /// [`ANNOTATION_PREFIX`](super::ANNOTATION_PREFIX) have an effect.
    pub annotations: &'a BTreeMap<String, String>,
}
