//! Hostnames and the hostname patterns of Gateway API.
//!
//! The same patterns match SNI, `Host` and `:authority`, so that the listener selected by TLS and the one
//! selected by HTTP can be compared. In certificates, a wildcard covers exactly one label (RFC 9525): see the
//! module `sni`.
//!
//! ```
//! use towergate_tls::NameMap;
//!
//! let mut map = NameMap::default();
//! map.insert("*.example.com".parse()?, "wildcard");
//! map.insert("a.example.com".parse()?, "exact");
//!
//! assert_eq!(map.find("a.example.com"), Some(&"exact"));
//! assert_eq!(map.find("x.y.example.com"), Some(&"wildcard"));
//! assert_eq!(map.find("example.com"), None);
//! # Ok::<(), towergate_tls::name::InvalidName>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

/// The hostnames of a listener or a route (Gateway API `Hostname`).
///
/// Ordered from the most to the least specific: exact names, wildcards with more labels, wildcards with
/// fewer labels, [`NamePattern::Any`].
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NamePattern {
    /// Exactly this name, in lower case, without a trailing dot.
    Exact(String),
    /// Every name that ends in a dot and this suffix: `example.com` for `*.example.com`. As in Gateway
    /// API, the asterisk matches one or more labels.
    Wildcard(String),
    /// Every name, and requests without a name.
    Any,
}

/// A text that is not a hostname of Gateway API.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a hostname: lower-case DNS labels, with at most a leading \"*.\"")]
pub struct InvalidName(pub String);

impl NamePattern {
    /// Sort key: greater for a more specific pattern. Exact names have the greatest key. Wildcards follow,
    /// those with a longer suffix before those with a shorter one. [`NamePattern::Any`] has the least key.
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (2, 0),
            Self::Wildcard(suffix) => (1, suffix.len()),
            Self::Any => (0, 0),
        }
    }

    /// Whether the pattern matches `host` (lower case, without port and trailing dot).
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(suffix) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Any => true,
        }
    }

    /// Whether the pattern matches every name that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Exact(_), Self::Wildcard(_)) => false,
            (Self::Wildcard(own), Self::Wildcard(suffix)) => own == suffix || self.matches(suffix),
        }
    }

    /// The pattern that matches the names that both patterns match, or `None` if no name matches both.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, x) | (x, Self::Any) => Some(x.clone()),
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => {
                pattern.matches(name).then(|| Self::Exact(name.clone()))
            }
            (Self::Wildcard(a), Self::Wildcard(b)) => {
                let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
                let covered = long == short || Self::Wildcard(short.clone()).matches(long);
                covered.then(|| Self::Wildcard(long.clone()))
            }
        }
    }
}

impl FromStr for NamePattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() || text == "*" {
            return Ok(Self::Any);
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (text, false),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(InvalidName(text.to_owned()));
        }
        Ok(if wildcard {
            Self::Wildcard(name.to_owned())
        } else {
            Self::Exact(name.to_owned())
        })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<String> for NamePattern {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

/// Normalises the server name of a ClientHello: lower case, one trailing dot removed. `None` for an empty
/// name, and for an IP address, which is not a valid server name (RFC 6066, section 3).
pub fn normalize_server_name(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(name.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(name))
}

/// A map keyed by [`NamePattern`]. A lookup by hostname finds the most specific pattern first.
///
/// A lookup hashes each suffix of the host that is not longer than the longest pattern. The length of the
/// longest pattern therefore limits the cost of a lookup, regardless of the length of the name that a client
/// sends.
#[derive(Clone, Debug)]
pub struct NameMap<T> {
    exact: HashMap<String, T>,
    wildcard: HashMap<String, T>,
    any: Option<T>,
    longest_exact: usize,
    longest_suffix: usize,
}

impl<T> Default for NameMap<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            wildcard: HashMap::default(),
            any: None,
            longest_exact: 0,
            longest_suffix: 0,
        }
    }
}

impl<T> NameMap<T> {
    /// Inserts a value; returns the previous value of the same pattern.
    pub fn insert(&mut self, pattern: NamePattern, value: T) -> Option<T> {
        match pattern {
            NamePattern::Exact(name) => {
                self.longest_exact = self.longest_exact.max(name.len());
                self.exact.insert(name, value)
            }
            NamePattern::Wildcard(suffix) => {
                self.longest_suffix = self.longest_suffix.max(suffix.len());
                self.wildcard.insert(suffix, value)
            }
            NamePattern::Any => self.any.replace(value),
        }
    }

    /// The value that was inserted for `pattern` itself; other patterns that match the same hosts are not
    /// considered.
    pub fn pattern_mut(&mut self, pattern: &NamePattern) -> Option<&mut T> {
        match pattern {
            NamePattern::Exact(name) => self.exact.get_mut(name),
            NamePattern::Wildcard(suffix) => self.wildcard.get_mut(suffix),
            NamePattern::Any => self.any.as_mut(),
        }
    }

    /// The value of the most specific pattern that matches `host` (lower case, without port).
    pub fn find<'a>(&'a self, host: &str) -> Option<&'a T> {
        self.find_all(host).next()
    }

    /// The values of all patterns that match `host`, the most specific first.
    pub fn find_all<'a, 'h>(
        &'a self,
        host: &'h str,
    ) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let exact = (host.len() <= self.longest_exact)
            .then(|| self.exact.get(host))
            .flatten();
        // A suffix starts after a dot. The dot is not the first byte, because the asterisk matches at least
        // one label. Suffixes longer than the longest pattern are skipped.
        let from = host.len().saturating_sub(self.longest_suffix + 1).max(1);
        let wildcard = (!self.wildcard.is_empty())
            .then(|| host.as_bytes().iter().enumerate().skip(from))
            .into_iter()
            .flatten()
            .filter(|(_, byte)| **byte == b'.')
            .filter_map(|(dot, _)| self.wildcard.get(&host[dot + 1..]));
        exact.into_iter().chain(wildcard).chain(self.any.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> NamePattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_matches_one_or_more_labels_and_not_the_apex() {
        let wild = pattern("*.example.com");

        assert!(wild.matches("a.example.com"));
        assert!(wild.matches("a.b.example.com"));
        assert!(!wild.matches("example.com"));
        assert!(!wild.matches("badexample.com"));
        assert!(!wild.matches(".example.com"));
    }

    #[test]
    fn the_most_specific_pattern_is_found_first() {
        let mut map = NameMap::default();
        for (i, text) in ["*", "*.com", "*.example.com", "a.example.com"]
            .iter()
            .enumerate()
        {
            map.insert(pattern(text), i);
        }

        assert_eq!(
            map.find_all("a.example.com").copied().collect::<Vec<_>>(),
            [3, 2, 1, 0]
        );
        assert_eq!(map.find("b.example.com"), Some(&2));
        assert_eq!(map.find("example.com"), Some(&1));
        assert_eq!(map.find("org"), Some(&0));
    }

    #[test]
    fn intersections_are_the_narrower_pattern() {
        assert_eq!(
            pattern("*.a.com").intersect(&pattern("*.com")),
            Some(pattern("*.a.com"))
        );
        assert_eq!(pattern("a.com").intersect(&pattern("*.a.com")), None);
        assert_eq!(
            pattern("*").intersect(&pattern("b.org")),
            Some(pattern("b.org"))
        );
        assert_eq!(pattern("*.xa.com").intersect(&pattern("*.a.com")), None);
    }

    #[test]
    fn a_server_name_is_normalized_and_an_address_is_none() {
        let name = |text| normalize_server_name(text).map(Cow::into_owned);

        assert_eq!(name("a.test"), Some("a.test".to_owned()));
        assert_eq!(name("A.Test."), Some("a.test".to_owned()));
        assert_eq!(name("a.test.."), Some("a.test.".to_owned()));
        assert_eq!(name("192.0.2.1"), None);
        assert_eq!(name("2001:db8::1"), None);
        assert_eq!(name("."), None);
        assert_eq!(name(""), None);
    }

    /// Hostnames of a few labels, so that many match the patterns; some are malformed.
    fn any_host() -> impl Strategy<Value = String> {
        let label = proptest::sample::select(vec!["a", "b", "ab", "com", "", "é"]);
        proptest::collection::vec(label, 0..5).prop_map(|labels| labels.join("."))
    }

    fn any_pattern() -> impl Strategy<Value = NamePattern> {
        let label = proptest::sample::select(vec!["a", "b", "ab", "com"]);
        let name = proptest::collection::vec(label, 1..4).prop_map(|labels| labels.join("."));
        prop_oneof![
            4 => name.clone().prop_map(NamePattern::Exact),
            4 => name.prop_map(NamePattern::Wildcard),
            1 => Just(NamePattern::Any),
        ]
    }

    fn specificity(pattern: &NamePattern) -> (u8, usize) {
        match pattern {
            NamePattern::Exact(_) => (2, 0),
            NamePattern::Wildcard(suffix) => (1, suffix.len()),
            NamePattern::Any => (0, 0),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_covers_those_that_are_their_own_intersection(a in any_pattern(), b in any_pattern()) {
            prop_assert_eq!(a.covers(&b), a.intersect(&b).as_ref() == Some(&b));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// `find_all` returns the same as a scan of all patterns, sorted from the most to the least specific.
        #[test]
        fn find_all_agrees_with_a_plain_scan(
            patterns in proptest::collection::vec(any_pattern(), 0..12),
            hosts in proptest::collection::vec(any_host(), 20),
        ) {
            let mut map = NameMap::default();
            for pattern in &patterns {
                map.insert(pattern.clone(), pattern.clone());
            }

            for host in &hosts {
                let mut expected: Vec<&NamePattern> =
                    patterns.iter().filter(|p| p.matches(host)).collect();
                expected.sort_by_key(|p| std::cmp::Reverse(specificity(p)));
                expected.dedup();

                prop_assert_eq!(map.find_all(host).collect::<Vec<_>>(), expected, "{}", host);
                prop_assert_eq!(map.find(host), map.find_all(host).next());
            }
        }

        /// The intersection matches exactly the names that both patterns match.
        #[test]
        fn an_intersection_matches_what_both_match(
            a in any_pattern(),
            b in any_pattern(),
            host in any_host(),
        ) {
            let both = a.matches(&host) && b.matches(&host);

            let intersection = a.intersect(&b);

            prop_assert_eq!(intersection.is_some_and(|p| p.matches(&host)), both);
        }

        /// Formatting a pattern and parsing the text returns the same pattern.
        #[test]
        fn parsing_inverts_formatting(pattern in any_pattern()) {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
    }
}
