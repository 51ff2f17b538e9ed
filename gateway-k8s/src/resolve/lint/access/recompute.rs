//! Authentication that requests skip after `recomputeRoute`: the request continues in the chain of the new
//! rule after the position of `jwt`. The new rule's own `jwt` and the sections before it do not run.

use std::collections::BTreeSet;

use towergate_core::plan::Match;
use towergate_policy::security::Jwt;

use super::super::super::report::{Report, Subject};
use super::{PlacedRule, PolicyUse, Uses, authentication};
use crate::finding::FindingCode;

/// Reports rules whose own authentication is skipped by requests that `recomputeRoute` of the policy moves to
/// these rules.
pub(super) fn check(
    used: &PolicyUse<'_, '_>,
    uses: &Uses<'_, '_>,
    subject: &Subject<'_>,
    report: &mut Report,
) {
    let Some(jwt) = &used.policy.spec.jwt else {
        return;
    };
    let providers = jwt.providers.as_deref().unwrap_or_default();
    let recomputes = |at: &usize| providers[*at].recompute_route == Some(true);
    let Some(provider) = (0..providers.len()).find(recomputes) else {
        return;
    };
    let filled = filled_headers(jwt);
    let mut skipped = BTreeSet::new();
    let guarded = uses.rules.iter().filter(|to| {
        let mut others = to
            .policies()
            .filter(|policy| policy.key() != used.policy.key());
        to.has_external_auth() || others.any(|policy| authentication(&policy.spec).next().is_some())
    });
    for to in guarded {
        for from in &used.rules {
            if may_continue(from, to, &filled) {
                skipped.extend(own_authentication(from, to));
            }
        }
    }
    if skipped.is_empty() {
        return;
    }
    let skipped: Vec<_> = skipped.into_iter().collect();
    report.warn(
        FindingCode::AuthenticationSkipped,
        subject,
        format!("spec.jwt.providers[{provider}].recomputeRoute"),
        format!(
            "a request may continue in a rule without the authentication of this rule: {}",
            skipped.join(", ")
        ),
        "let one SecurityPolicy cover all rules between which the claims choose, or check the claims with authorization, which the new rule enforces",
    );
}

/// Lower-case names of the headers that claims fill.
fn filled_headers(jwt: &Jwt) -> BTreeSet<String> {
    let providers = jwt.providers.iter().flatten();
    let claims = providers.flat_map(|provider| provider.claim_to_headers.iter().flatten());
    let headers = claims.filter_map(|claim| claim.header.as_ref());
    headers.map(|name| name.to_ascii_lowercase()).collect()
}

/// Whether headers that claims fill may move a request from rule `from` to rule `to`.
fn may_continue(
    from: &PlacedRule<'_, '_>,
    to: &PlacedRule<'_, '_>,
    filled: &BTreeSet<String>,
) -> bool {
    let (Some(from_rule), Some(to_rule)) = (from.rule, to.rule) else {
        return false;
    };
    let place = |placed: &PlacedRule<'_, '_>| (placed.place.gateway, placed.place.at);
    let common = |a: &PlacedRule<'_, '_>| {
        let mut names = a.place.hostnames.iter();
        names.any(|name| {
            let mut others = to.place.hostnames.iter();
            others.any(|other| name.intersect(other).is_some())
        })
    };
    let mut matches = from_rule.matches.iter().chain(&to_rule.matches);
    place(from) == place(to) && common(from) && matches.any(|one| examines(one, filled))
}

fn examines(one: &Match, filled: &BTreeSet<String>) -> bool {
    let mut headers = one.headers.iter();
    headers.any(|header| filled.contains(header.name.as_str()))
}

/// The authentication sections of rule `to` that rule `from` lacks, each with the name of its policy.
fn own_authentication(from: &PlacedRule<'_, '_>, to: &PlacedRule<'_, '_>) -> Vec<String> {
    let others = to.policies().filter(|policy| !from.is_under(policy));
    let sections = others.flat_map(|policy| {
        let name = policy.key();
        authentication(&policy.spec).map(move |section| format!("{section} of {name}"))
    });
    let identity = |placed: &PlacedRule<'_, '_>| (placed.route, placed.rule.map(|rule| rule.index));
    let filter = to.has_external_auth() && identity(from) != identity(to);
    let filter = filter.then(|| "a filter of type ExternalAuth".to_owned());
    sections.chain(filter).collect()
}
