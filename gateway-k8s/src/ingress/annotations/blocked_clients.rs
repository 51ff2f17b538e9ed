//! `block-user-agents` and `block-referers` of the ConfigMap: requests of all hosts that receive 403.
//!
//! The entries have the syntax of a `map` of nginx: a text that is compared case-insensitively, `~` with a
//! regular expression, or `~*` with a case-insensitive regular expression.

use super::global_snippets::OF_CONFIG_MAP;
use crate::ingress::controller::ControllerConfig;
use crate::ingress::deny_rules::{DenyRule, PartTest, RequestCondition, RequestPart};
use crate::ingress::settings::IngressSettings;
use crate::ingress::value::list;
use crate::ingress::verdict::{Aspect, Finding};

/// The keys, and the header fields that they compare.
const KEYS: [(&str, &str); 2] = [
    ("block-referers", "referer"),
    ("block-user-agents", "user-agent"),
];

/// Adds the rules of `block-user-agents` and `block-referers`. If an entry has no equivalent, the paths
/// return 500.
pub(super) fn add(settings: &mut IngressSettings, config: &ControllerConfig) {
    for (key, field) in KEYS {
        let Some(text) = config.text(key) else {
            continue;
        };
        match rules(text, field) {
            Ok(rules) => settings.deny_rules.extend(rules),
            Err(_) if settings.denied.is_none() => {
                settings.denied = Some(format!("{OF_CONFIG_MAP}{key}"));
            }
            Err(_) => {}
        }
    }
}

/// The verdict on the ConfigMap key `key` with the value `text`.
pub(crate) fn finding(key: &str, text: &str) -> Finding {
    const REPLY: &[Aspect] = &[
        Aspect::Status,
        Aspect::Body,
        Aspect::Calls,
        Aspect::ResponseHeaders,
    ];
    let field = KEYS.iter().find(|(known, _)| *known == key);
    match field.map(|(_, field)| rules(text, field)) {
        None | Some(Ok(_)) => Finding::differs(
            "rules of `authorization` in SecurityPolicies of all routes; requests that no route matches receive 404 instead of 403, and those over plain HTTP are redirected first",
            REPLY,
        ),
        Some(Err(entry)) => Finding::impossible(
            format!(
                "`{entry}` has no equivalent as a condition: the paths of all Ingresses return 500. Write it without look-around and back-references"
            ),
            REPLY,
        ),
    }
}

/// A rule for each entry, or the entry that has no equivalent.
fn rules(text: &str, field: &str) -> Result<Vec<DenyRule>, String> {
    let entries = list(text).into_iter();
    entries
        .map(|entry| rule(&entry, field).ok_or(entry))
        .collect()
}

fn rule(entry: &str, field: &str) -> Option<DenyRule> {
    let quotes = ['"', '\''];
    let quoted = entry
        .strip_prefix(quotes)
        .and_then(|rest| rest.strip_suffix(quotes));
    let entry = quoted.unwrap_or(entry);
    let pattern = match entry.strip_prefix('~') {
        None => format!("(?i)^{}$", regex::escape(entry)),
        Some(pattern) => match pattern.strip_prefix('*') {
            Some(pattern) => format!("(?i){pattern}"),
            None => pattern.to_owned(),
        },
    };
    let condition = RequestCondition {
        part: RequestPart::Header(field.to_owned()),
        test: PartTest::Matches(pattern),
        negated: false,
    };
    let rule = DenyRule {
        conditions: vec![condition],
        status: Some(403),
        below_paths: false,
    };
    rule.cel().is_some().then_some(rule)
}
