//! Matches of paths and canaries.

use serde_json::{Value, json};

use crate::ingress::servers::{CanaryBackend, Location};

/// The match of a location.
pub(crate) fn path_match(location: &Location, regex: bool) -> Value {
    if regex {
        return json!({"type": "RegularExpression", "value": location.expression});
    }
    let kind = if location.exact {
        "Exact"
    } else {
        "PathPrefix"
    };
    json!({"type": kind, "value": encoded(&location.path)})
}

/// Percent-encodes the characters of a path that are not allowed in a match. nginx compares paths of
/// Ingresses, as written, with decoded paths of requests. A percent sign in the path of an Ingress is
/// therefore an ordinary character.
pub(crate) fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte) => {
                text.push(char::from(byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
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
        assert_eq!(encoded("/v[0-9]/ä%5b"), "/v%5B0-9%5D/%C3%A4%255b");
        assert_eq!(encoded("/a-b/(c)%"), "/a-b/(c)%25");
    }
}
