//! Parsed values that compare, hash and travel as the text they were parsed from.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use http::{HeaderName, HeaderValue, Method};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A parsed value that is equal to another if their texts are, and is written as its text.
///
/// For types such as [`Regex`] and [`HeaderName`] that lack `Eq` or serde.
#[derive(Clone)]
pub struct Text<T>(T);

/// A value that can show the text it was parsed from.
pub trait Source {
    /// The text.
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
    /// Values of a plan are visible ASCII; others show as empty.
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

/// How a text is compared (`StringMatch` of Envoy Gateway; `Exact` and `RegularExpression` of Gateway API).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum TextMatch {
    /// Byte for byte.
    Exact(String),
    /// Starts with.
    Prefix(String),
    /// Ends in.
    Suffix(String),
    /// The whole text, so the expression is anchored (`^(?:…)$`) when it is parsed.
    Regex(Text<Regex>),
}

impl TextMatch {
    /// An anchored regular expression, at most 1 MiB when compiled.
    ///
    /// # Errors
    /// The expression's own error if it does not parse or is too large.
    pub fn regex(expression: &str) -> Result<Self, regex::Error> {
        // Parsed alone first: `a)|(b` must not pass for being anchored.
        regex::Regex::new(expression)?;
        let anchored = regex::RegexBuilder::new(&format!("^(?:{expression})$"))
            .size_limit(1 << 20)
            .build()?;
        Ok(Self::Regex(anchored.into()))
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
