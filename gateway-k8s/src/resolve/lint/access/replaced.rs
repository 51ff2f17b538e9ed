//! Policies that are replaced by more specific policies without `mergeType`.

use towergate_policy::security::Action;

use super::super::super::report::{Report, Subject};
use super::{PlacedRule, PolicyUse, SecurityPolicy, Uses, authentication};
use crate::finding::FindingCode;
use crate::objects::ObjectKey;

/// Reports a policy that is in force nowhere.
pub(super) fn report_unused(used: &PolicyUse<'_, '_>, subject: &Subject<'_>, report: &mut Report) {
    let names: Vec<_> = used.replaced_by.iter().map(ObjectKey::to_string).collect();
    let message = format!(
        "the policy protects nothing: {} replaces it on every route that it covers",
        names.join(", ")
    );
    report.warn(
        FindingCode::PolicyReplaced,
        subject,
        "spec.targetRefs",
        message,
        "set mergeType in the more specific policies, or remove this policy",
    );
}

/// Whether a rule has no access control because its policy replaces `candidate`.
///
/// A policy with `authorization.defaultAction: Allow` is exempt: it states that the route is open.
pub(super) fn loses_access_control(
    placed: &PlacedRule<'_, '_>,
    candidate: &SecurityPolicy,
) -> bool {
    // A rule for connections has no authentication to lose.
    if placed.rule.is_none() || placed.has_external_auth() {
        return false;
    }
    let mut specs = placed.policies().map(|policy| &policy.spec);
    let mut authorizes = false;
    let mut is_open = false;
    let authenticates = specs.any(|spec| {
        let authorization = spec.authorization.as_ref();
        authorizes |= authorization.is_some();
        is_open |= authorization.is_some_and(|one| one.default_action == Some(Action::Allow));
        authentication(spec).next().is_some()
    });
    if authenticates || is_open {
        return false;
    }
    let candidate = &candidate.spec;
    authentication(candidate).next().is_some() || !authorizes && candidate.authorization.is_some()
}

/// Reports that a policy without access control replaces policies with access control. Replaced policies that
/// are in force nowhere are left out, because `report_unused` reports them.
pub(super) fn check(
    used: &PolicyUse<'_, '_>,
    uses: &Uses<'_, '_>,
    subject: &Subject<'_>,
    report: &mut Report,
) {
    let is_in_force = |name: &ObjectKey| {
        let other = uses.policies.get(name);
        other.is_some_and(|other| !other.rules.is_empty())
    };
    for (name, dropped) in used.drops.iter().filter(|(name, _)| is_in_force(name)) {
        let authorization = dropped.spec.authorization.is_some();
        let sections =
            authentication(&dropped.spec).chain(authorization.then_some("authorization"));
        let sections: Vec<_> = sections.collect();
        let message = format!(
            "the policy replaces {name} as a whole and has no authentication: {} of {name} is not enforced on its routes",
            sections.join(", ")
        );
        report.warn(
            FindingCode::AuthenticationReplaced,
            subject,
            "spec.targetRefs",
            message,
            "set mergeType to merge a policy of a route into the policy of the Gateway, or repeat the sections; if the routes are open on purpose, set authorization.defaultAction: Allow",
        );
    }
}
