//! Parsed values that retain their source text.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use http::{HeaderName, HeaderValue, Method};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::re2;

/// A parsed value. Comparing, hashing and serializing it use its source text.
///
/// Adds `Eq`, `Ord`, `Hash` and serde to types that lack them, for example [`Regex`] and [`HeaderName`].
#[derive(Clone)]
pub struct Text<T>(T);

/// A value that can return its source text.
pub trait Source {
    /// Source text.
    fn source(&self) -> &str;
}

impl Source for Regex {
    fn source(&self) -> &str {
        self.as_str()
    }
}

impl Source for HeaderName {
    fn source(&self) -> &str {
        self.as_str()
    }
}

impl Source for HeaderValue {
    /// Values in a plan consist of visible ASCII. The source text of any other value is empty.
    fn source(&self) -> &str {
        self.to_str().unwrap_or_default()
    }
}

impl Source for Method {
    fn source(&self) -> &str {
        self.as_str()
    }
}

impl<T> From<T> for Text<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Text<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: FromStr> FromStr for Text<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

impl<T: Source> fmt::Debug for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.source(), f)
    }
}

impl<T: Source> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.source())
    }
}

impl<T: Source> PartialEq for Text<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.source() == other.0.source()
    }
}

impl<T: Source> Eq for Text<T> {}

impl<T: Source> Hash for Text<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.source().hash(state);
    }
}

impl<T: Source> PartialOrd for Text<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Source> Ord for Text<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.source().cmp(other.0.source())
    }
}

impl<T: Source> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.source())
    }
}

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Condition on a string (Envoy Gateway `StringMatch`; Gateway API `Exact` and `RegularExpression`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum TextMatch {
    /// The string equals this value. The comparison is case-sensitive.
    Exact(String),
    /// The string starts with this value.
    Prefix(String),
    /// The string ends with this value.
    Suffix(String),
    /// The whole string matches this expression. The expression is anchored (`^(?:…)$`) when it is parsed.
    Regex(Text<Regex>),
}

impl TextMatch {
    /// Compiles an expression in RE2's syntax, and anchors it. Maximum compiled size: 2 MiB. There is one
    /// difference from RE2: `\C` is invalid.
    ///
    /// # Errors
    /// Fails if the expression is invalid or exceeds the maximum size.
    pub fn regex(expression: &str) -> Result<Self, regex::Error> {
        // The expression is first parsed without anchors. Otherwise an invalid expression such as `a)|(b`
        // would become valid through the anchors, and would match parts of a string.
        let expression = re2::translate(expression)?;
        Regex::new(&expression)?;
        let anchored = regex::RegexBuilder::new(&format!("^(?:{expression})$"))
            .size_limit(2 << 20)
            .build()?;
        Ok(Self::Regex(anchored.into()))
    }

    /// Compiles an expression in RE2's syntax without anchoring it.
    ///
    /// # Errors
    /// Fails if the expression is invalid or too large.
    pub fn search(expression: &str) -> Result<Regex, regex::Error> {
        Regex::new(&re2::translate(expression)?)
    }

    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(value) => value == text,
            Self::Prefix(value) => text.starts_with(value.as_str()),
            Self::Suffix(value) => text.ends_with(value.as_str()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}
