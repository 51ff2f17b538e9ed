//! Regular expressions of schemas and CEL expressions.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// A regular expression in Go's syntax (RE2), compiled when it is first needed.
///
/// Classes such as `\w` and case folding are those of ASCII, as in Go.
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
        compiled.is_ok_and(|regex| regex.is_match(text.as_bytes()))
    }

    /// The error of a pattern that does not compile.
    pub fn error(&self) -> Option<&regex::Error> {
        self.compiled().as_ref().err()
    }

    fn compiled(&self) -> &Result<Regex, regex::Error> {
        self.compiled
            .get_or_init(|| RegexBuilder::new(&self.text).unicode(false).build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_case_folding_are_those_of_ascii() {
        let word = Pattern::from(r"^[\w-]+\d?$".to_owned());
        let service = Pattern::from(r"^(?i)\.?[a-z_]+$".to_owned());

        assert!(word.is_match("a-B_9"));
        assert!(!word.is_match("é"));
        assert!(service.is_match("Foo"));
        // U+212A, the sign of Kelvin, folds to `k` in Unicode.
        assert!(!service.is_match("\u{212a}"));
    }

    #[test]
    fn a_pattern_that_does_not_compile_matches_nothing() {
        let pattern = Pattern::from("(".to_owned());

        assert!(pattern.error().is_some());
        assert!(!pattern.is_match("("));
    }
}
