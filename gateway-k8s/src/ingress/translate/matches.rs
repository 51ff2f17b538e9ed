//! Matches of paths and canaries.

use serde_json::{Value, json};

use crate::ingress::servers::{CanaryBackend, Location};

/// The match of a location.
pub(crate) fn path_match(location: &Location, regex: bool) -> Value {
    if regex {
        return json!({"type": "RegularExpression", "value": pattern(&location.path)});
    }
    let kind = if location.exact {
        "Exact"
    } else {
        "PathPrefix"
    };
    json!({"type": kind, "value": encoded(&location.path)})
}

/// Percent-encodes the characters of a path that are not allowed in a match. Requests contain these
/// characters in the same form, because only unreserved characters are decoded before paths are matched.
pub(crate) fn encoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut text = String::with_capacity(path.len());
    for (at, byte) in bytes.iter().enumerate() {
        let escape = bytes.get(at + 1..at + 3);
        let is_escape = escape.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        match byte {
            b'%' if is_escape => text.push('%'),
            byte if byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(byte) => {
                text.push(char::from(*byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The regular expression for a path of a host with regular expressions. It matches at the start of the path,
/// without regard to case.
pub(crate) fn pattern(path: &str) -> String {
    let path = path.strip_prefix('^').unwrap_or(path);
    match path.strip_suffix('$') {
        Some(whole) if !whole.ends_with('\\') => format!("(?i){whole}"),
        _ if is_open(path) => format!("(?i){path}"),
        _ => format!("(?i){path}.*"),
    }
}

/// Whether a pattern matches all paths with its prefix.
fn is_open(path: &str) -> bool {
    path.ends_with(".*") && !path.ends_with("\\.*") || path.ends_with("(.*)")
}

/// The pattern and the substitution of a rewrite. `$1` becomes `\1`; a reference to a group that the path
/// does not have is removed.
pub(crate) fn rewrite(path: &str, target: &str) -> (String, String) {
    let groups = regex::Regex::new(path).map_or(0, |regex| regex.captures_len() - 1);
    let mut substitution = String::new();
    let mut rest = target.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek().and_then(|digit| digit.to_digit(10))) {
            ('$', Some(digit)) => {
                rest.next();
                if usize::try_from(digit).is_ok_and(|digit| (1..=groups).contains(&digit)) {
                    substitution.push('\\');
                    substitution.push_str(&digit.to_string());
                }
            }
            ('\\', _) => substitution.push_str("\\\\"),
            _ => substitution.push(c),
        }
    }
    let path = path.strip_prefix('^').unwrap_or(path);
    let end = match path {
        path if path.ends_with('$') => "",
        path if is_open(path) => "$",
        _ => ".*$",
    };
    (format!("(?i)^{path}{end}"), substitution)
}

/// The backend that receives the requests of a match.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Taker {
    Main,
    Canary,
}

/// Header matches of a canary, in the order in which ingress-nginx evaluates them.
pub(crate) fn canary_matches(canary: &CanaryBackend) -> Vec<(Value, Taker)> {
    let canary = &canary.canary;
    let mut matches = Vec::new();
    if let Some(name) = &canary.header {
        if let Some(value) = &canary.value {
            matches.push((json!({"name": name, "value": value}), Taker::Canary));
        } else if let Some(pattern) = &canary.pattern {
            let value = format!(".*(?:{pattern}).*");
            let header = json!({"name": name, "type": "RegularExpression", "value": value});
            matches.push((header, Taker::Canary));
        } else {
            matches.push((json!({"name": name, "value": "always"}), Taker::Canary));
            matches.push((json!({"name": name, "value": "never"}), Taker::Main));
        }
    }
    if let Some(name) = &canary.cookie {
        for (word, taker) in [("always", Taker::Canary), ("never", Taker::Main)] {
            let value = format!("(?:.*;)?\\s*(?i:{name})={word}\\s*(?:;.*)?");
            let header = json!({"name": "Cookie", "type": "RegularExpression", "value": value});
            matches.push((header, taker));
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_path_cannot_have_are_encoded() {
        assert_eq!(encoded("/v[0-9]/ä%5b"), "/v%5B0-9%5D/%C3%A4%5b");
        assert_eq!(encoded("/a-b/(c)%"), "/a-b/(c)%25");
    }

    #[test]
    fn a_pattern_matches_at_the_start() {
        assert_eq!(pattern("/a/[0-9]+"), "(?i)/a/[0-9]+.*");
        assert_eq!(pattern("/a$"), "(?i)/a");
    }

    #[test]
    fn groups_of_a_rewrite_are_numbered() {
        assert_eq!(
            rewrite("/app(/|$)(.*)", "/$2"),
            ("(?i)^/app(/|$)(.*)$".to_owned(), "/\\2".to_owned())
        );
        assert_eq!(rewrite("/app", "/x/$1").1, "/x/");
    }
}
