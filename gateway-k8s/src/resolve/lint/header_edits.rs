//! Header edits that never have an effect.

use std::collections::BTreeSet;

use http::HeaderName;
use towergate_core::http::reserved::is_fixed;
use towergate_core::plan::Filter;
use towergate_policy::common::HeaderChange;

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use super::super::route::RouteState;
use crate::finding::FindingCode;

/// Reports edits of header fields that frame a message or concern one connection.
pub(super) fn check(index: &ObjectIndex<'_>, routes: &[RouteState<'_>], report: &mut Report) {
    for state in routes {
        let subject = state.route.subject();
        for rule in &state.rules {
            let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
            let names: BTreeSet<&str> = rule
                .filters
                .iter()
                .chain(of_backends)
                .flat_map(fixed_names)
                .collect();
            warn(
                names,
                format!("spec.rules[{}]", rule.index),
                &subject,
                report,
            );
        }
    }
    for policy in index.objects.client_traffic_policies.values() {
        let subject = Subject::new("ClientTrafficPolicy", policy);
        let headers = policy.spec.headers.as_ref();
        let changes = headers.map(|headers| {
            [
                (
                    "earlyRequestHeaders",
                    headers.early_request_headers.as_ref(),
                ),
                (
                    "lateResponseHeaders",
                    headers.late_response_headers.as_ref(),
                ),
            ]
        });
        for (field, change) in changes.into_iter().flatten() {
            let names = change.into_iter().flat_map(changed_names).collect();
            warn(names, format!("spec.headers.{field}"), &subject, report);
        }
    }
}

fn warn(names: BTreeSet<&str>, field: String, subject: &Subject<'_>, report: &mut Report) {
    if names.is_empty() {
        return;
    }
    let names: Vec<_> = names.into_iter().collect();
    report.warn(
        FindingCode::HeaderEditWithoutEffect,
        subject,
        field,
        format!(
            "edits of {} have no effect: the field frames the message or concerns one connection",
            names.join(", ")
        ),
        "remove the edit",
    );
}

fn fixed_names(filter: &Filter) -> impl Iterator<Item = &str> {
    let edits = match filter {
        Filter::RequestHeaders(edits) | Filter::ResponseHeaders(edits) => Some(edits),
        Filter::Redirect(_)
        | Filter::Rewrite(_)
        | Filter::RegexRewrite(_)
        | Filter::DirectResponse(_)
        | Filter::Mirror(_)
        | Filter::Credential(_)
        | Filter::Cors(_) => None,
    };
    let names = edits
        .into_iter()
        .flat_map(|edits| edits.0.iter().filter_map(|edit| edit.name()));
    names.filter(|name| is_fixed(name)).map(HeaderName::as_str)
}

/// The names of fixed fields in a change of a ClientTrafficPolicy, as written.
fn changed_names(change: &HeaderChange) -> impl Iterator<Item = &str> {
    let set = [&change.set, &change.add, &change.add_if_absent];
    let set = set.into_iter().flatten().flatten();
    let set = set.filter_map(|header| header.name.as_deref());
    let removed = change.remove.iter().flatten().map(String::as_str);
    set.chain(removed).filter(|name| {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        parsed.is_ok_and(|name| is_fixed(&name))
    })
}
