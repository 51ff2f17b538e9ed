//! Host names and the patterns of Gateway API that match them.
//!
//! One rule serves SNI, `Host` and `:authority`, so that the listener chosen by TLS and the listener
//! chosen by HTTP can be compared. Certificates follow another rule (RFC 9525: a wildcard covers
//! exactly one label), which is in [`crate::sni`].

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which host names a listener or a route takes (Gateway API `Hostname`).
///
/// Ordered from the most to the least specific: exact names, then wildcards with more labels before
/// those with fewer, then [`NamePattern::Any`].
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NamePattern {
    /// This name only, in lower case, without a trailing dot.
    Exact(String),
    /// Every name that ends in a dot and this suffix: `example.com` for `*.example.com`. As in
    /// Gateway API, one or more labels stand for the asterisk.
    Wildcard(String),
    /// Every name, and requests without one.
    Any,
}

/// Text that is no hostname in the sense of Gateway API.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a hostname: lower-case DNS labels, with at most a leading \"*.\"")]
pub struct InvalidName(pub String);

impl NamePattern {
    /// Whether `host` (lower case, no port, no trailing dot) is among the names.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(suffix) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Any => true,
        }
    }

    /// The names that both patterns take, or `None` if there are none.
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

/// Values by [`NamePattern`], found by host name, the most specific first.
///
/// A look-up costs one hash per label of the host, however many patterns there are.
#[derive(Clone, Debug)]
pub struct NameMap<T> {
    exact: HashMap<String, T>,
    wildcard: HashMap<String, T>,
    any: Option<T>,
}

impl<T> Default for NameMap<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: None,
        }
    }
}

impl<T> NameMap<T> {
    /// Adds a value; gives back the one that the same pattern had before.
    pub fn insert(&mut self, pattern: NamePattern, value: T) -> Option<T> {
        match pattern {
            NamePattern::Exact(name) => self.exact.insert(name, value),
            NamePattern::Wildcard(suffix) => self.wildcard.insert(suffix, value),
            NamePattern::Any => self.any.replace(value),
        }
    }

    /// The value of exactly this pattern.
    pub fn pattern_mut(&mut self, pattern: &NamePattern) -> Option<&mut T> {
        match pattern {
            NamePattern::Exact(name) => self.exact.get_mut(name),
            NamePattern::Wildcard(suffix) => self.wildcard.get_mut(suffix),
            NamePattern::Any => self.any.as_mut(),
        }
    }

    /// The value of the most specific pattern that takes `host` (lower case, without port).
    pub fn find<'a>(&'a self, host: &str) -> Option<&'a T> {
        self.find_all(host).next()
    }

    /// All values whose pattern takes `host`, the most specific first.
    pub fn find_all<'a, 'h>(
        &'a self,
        host: &'h str,
    ) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let exact = self.exact.get(host).into_iter();
        let wildcard = (!self.wildcard.is_empty())
            .then(|| host.char_indices().filter(|(at, c)| *c == '.' && *at > 0))
            .into_iter()
            .flatten()
            .filter_map(|(dot, _)| self.wildcard.get(&host[dot + 1..]));
        exact.chain(wildcard).chain(self.any.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> NamePattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_takes_one_or_more_labels_and_not_the_apex() {
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
}
