//! Differences between running gateways that are also differences of the installation
//! (`config_table::defaults`). No setting affects these differences.

use super::comparison::LiveAnswer;

/// Name of the known difference in responses of the gateway itself.
pub(super) const ERROR_RESPONSES: &str = "error responses";
/// Name of the known difference in the paths of health checks.
pub(super) const HEALTH_CHECKS: &str = "health checks";
/// Name of the known difference in trailing slashes of redirects.
const REDIRECTS: &str = "redirects to HTTPS";
/// Name of the known difference in the field `Strict-Transport-Security` of redirects.
const HSTS: &str = "Strict-Transport-Security";

/// Names of the known differences that together describe all parts of a difference. `fields` are the names of
/// the header fields that differ. Empty: at least one part is not described.
pub(super) fn described_by(old: &LiveAnswer, new: &LiveAnswer, fields: &[&String]) -> Vec<String> {
    let mut names = Vec::new();
    let is_local = old.received.is_none() && new.received.is_none() && old.status >= 300;
    match (old.status, new.status) {
        (old, new) if old == new => {}
        (503, 500) if is_local => names.push(ERROR_RESPONSES),
        _ => return Vec::new(),
    }
    for field in fields {
        let name = match field.as_str() {
            // Clients use the status of a local reply, and not its text, so its media type is a known
            // difference.
            "content-type" if is_local && is_default_page(old) => ERROR_RESPONSES,
            "location" if without_slash(old) == without_slash(new) => REDIRECTS,
            "strict-transport-security" if (300..400).contains(&old.status) => HSTS,
            _ => return Vec::new(),
        };
        names.push(name);
    }
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(str::to_owned).collect()
}

/// Whether a response has the type of nginx's own pages.
fn is_default_page(answer: &LiveAnswer) -> bool {
    value(answer, "content-type").is_some_and(|value| value.starts_with("text/html"))
}

/// `Location` without a trailing slash.
fn without_slash(answer: &LiveAnswer) -> Option<&str> {
    value(answer, "location").map(|address| address.trim_end_matches('/'))
}

fn value<'a>(answer: &'a LiveAnswer, name: &str) -> Option<&'a str> {
    let mut fields = answer.headers.iter();
    let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}
