//! Regular expressions of schemas and CEL expressions.

use std::sync::OnceLock;

use regex::Regex;
use serde::Deserialize;
use towergate_core::plan::TextMatch;

/// A regular expression in the syntax of RE2, compiled when it is first needed. The API server uses Go's
/// `regexp` for the patterns of schemas and CEL expressions. Envoy uses RE2 for the patterns of CEL
/// expressions. Both have the syntax of RE2.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Result<Regex, regex::Error>>,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self {
            text,
            compiled: OnceLock::new(),
        }
    }
}

impl Pattern {
    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches somewhere in `text`. A pattern that does not compile matches nothing: fail
    /// closed.
    pub fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled().as_ref();
        compiled.is_ok_and(|regex| regex.is_match(text))
    }

    /// The error of a pattern that does not compile.
    pub fn error(&self) -> Option<&regex::Error> {
        self.compiled().as_ref().err()
    }

    fn compiled(&self) -> &Result<Regex, regex::Error> {
        self.compiled.get_or_init(|| TextMatch::search(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_the_syntax_of_re2() {
        for (pattern, matching, other) in [
            (r"^[\w-]+\d?$", "a-B_9", "é"),
            (r"^[\w-.]+$", "a-.b", "a/b"),
            ("^[a&&b]$", "&", "c"),
            ("^[a~~b]$", "~", "c"),
            ("^a{,2}$", "a{,2}", "aa"),
            ("^{id}$", "{id}", "id"),
            ("^(?P<n>a)(?P<n>b)$", "ab", "a"),
            (r"^\Qa.b\E$", "a.b", "axb"),
            (r"^\<a$", "<a", "a"),
            (r"^\141$", "a", "b"),
            ("^[[]$", "[", "a"),
            (r"^\pL+$", "é", "1"),
            ("^.$", "é", "ab"),
            (r"^[^a]$", "é", "a"),
            ("(?i)^É$", "é", "e"),
            (r"^\xe9$", "é", "e"),
            (r"^\p{Greek}$", "α", "a"),
        ] {
            let compiled = Pattern::from(pattern.to_owned());

            assert!(compiled.is_match(matching), "{pattern}");
            assert!(!compiled.is_match(other), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_does_not_compile_matches_nothing() {
        let pattern = Pattern::from("(".to_owned());

        assert!(pattern.error().is_some());
        assert!(!pattern.is_match("("));
    }
}
