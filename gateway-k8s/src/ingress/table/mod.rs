//! All annotations of ingress-nginx 1.15.
//!
//! An annotation that is not in this table is unknown. Each row has the risk that the controller
//! assigns to the annotation and the effect of an invalid value.

mod access;
mod backends;
mod requests;

use super::verdict::{Aspect, Finding};

/// Risk of an annotation, compared with `annotations-risk-level`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Risk {
    Low,
    Medium,
    High,
    Critical,
}

impl Risk {
    /// Parses the value of `annotations-risk-level` in the ConfigMap of ingress-nginx. `None`: unknown level.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "Low" => Self::Low,
            "Medium" => Self::Medium,
            "High" => Self::High,
            "Critical" => Self::Critical,
            _ => return None,
        })
    }
}

/// The behaviour of ingress-nginx if the value is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Invalid {
    /// The whole Ingress is ignored: 404.
    DropsIngress,
    /// The locations of the Ingress return 503.
    Denies,
    /// The annotation is ignored, or its default applies.
    Ignored,
    /// External authentication is off.
    AuthOff,
}

/// The verdict of a row.
#[derive(Clone, Copy, Debug)]
enum Row {
    /// The reader of the annotation determines the verdict. The string is the text of verdicts for which the
    /// reader supplies none.
    Read(&'static str),
    /// Always translated without a difference.
    Nothing(&'static str),
    /// Always translated with a difference, or not needed.
    Differs(&'static str, &'static [Aspect]),
    /// The setting can never be translated.
    Never(&'static str, &'static [Aspect]),
}

/// An annotation of ingress-nginx.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnnotationEntry {
    /// Name without the prefix.
    pub(crate) name: &'static str,
    /// Risk.
    pub(crate) risk: Risk,
    /// Effect of an invalid value.
    pub(crate) invalid: Invalid,
    row: Row,
}

impl AnnotationEntry {
    /// The verdict if the family's reader supplies none.
    pub(crate) fn finding(&self) -> Finding {
        match self.row {
            Row::Read(text) | Row::Nothing(text) => Finding::same(text),
            Row::Differs(text, affects) => Finding::differs(text, affects),
            Row::Never(text, affects) => Finding::impossible(text, affects),
        }
    }
}

/// All annotations.
fn entries() -> impl Iterator<Item = &'static AnnotationEntry> {
    [access::ROWS, backends::ROWS, requests::ROWS]
        .into_iter()
        .flatten()
}

/// Finds an annotation by its name without the prefix.
pub(crate) fn annotation(name: &str) -> Option<&'static AnnotationEntry> {
    entries().find(|entry| entry.name == name)
}

/// Names of all annotations.
pub(crate) fn annotation_names() -> impl Iterator<Item = &'static str> {
    entries().map(|entry| entry.name)
}

const fn row(name: &'static str, risk: Risk, invalid: Invalid, row: Row) -> AnnotationEntry {
    AnnotationEntry {
        name,
        risk,
        invalid,
        row,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_sorted_and_unique() {
        for rows in [access::ROWS, backends::ROWS, requests::ROWS] {
            assert!(rows.is_sorted_by(|a, b| a.name < b.name));
        }
        let names: BTreeSet<_> = annotation_names().collect();

        assert_eq!(names.len(), annotation_names().count());
    }

    #[test]
    fn every_row_explains_itself() {
        for entry in entries() {
            assert!(!entry.finding().text.is_empty(), "{}", entry.name);
        }
    }
}
