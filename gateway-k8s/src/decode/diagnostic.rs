//! Diagnostics: message, position, and advice.
//!
//! Errors and warnings always carry advice; the constructors require it.

use serde::{Serialize, Serializer};

use super::tree::Place;
use crate::finding::FindingCode;
use crate::message::one_line;
use crate::objects::{Object, ObjectKey, Origin};

/// An error, warning or note about a manifest.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Diagnostic {
    /// Severity.
    pub severity: Severity,
    /// Finding code, such as `unknown-field`.
    pub code: FindingCode,
    /// File name. Empty if unknown; serialized as `null`.
    #[serde(serialize_with = "unless_default")]
    pub file: String,
    /// Line in the file, from 1. 0 if unknown; serialized as `null`.
    #[serde(serialize_with = "unless_default")]
    pub line: usize,
    /// Column in the line, from 1, in characters. 0 if unknown; serialized as `null`.
    #[serde(serialize_with = "unless_default")]
    pub column: usize,
    /// Kind of the object. Empty if unknown; serialized as `null`.
    #[serde(serialize_with = "unless_default")]
    pub kind: String,
    /// Namespace and name of the object.
    pub object: Option<ObjectKey>,
    /// Path of the field, such as `spec.listeners[0].port`. Empty for the whole object; serialized as `null`.
    #[serde(serialize_with = "unless_default")]
    pub field: String,
    /// Failure and cause, on one line.
    pub message: String,
    /// Advice, one clause without a full stop. Empty only for a [`Severity::Note`].
    pub help: String,
}

/// Severity of a [`Diagnostic`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Part of the configuration is not in service.
    Error,
    /// The configuration is in service, but is probably not the intended one.
    Warning,
    /// Information.
    Note,
}

fn unless_default<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Default + PartialEq + Serialize,
    S: Serializer,
{
    let known = Some(value).filter(|value| **value != T::default());
    known.serialize(serializer)
}

/// Whether advice has the form of a clause: it can follow a semicolon, and stand in parentheses.
fn is_clause(help: &str) -> bool {
    let mut letters = help.chars();
    let capital = letters.next().is_some_and(char::is_uppercase);
    // `Set` begins a sentence; `HTTPRoute` and `XFF` are names.
    let sentence = capital && letters.next().is_some_and(char::is_lowercase);
    !sentence && !help.ends_with('.')
}

impl Diagnostic {
    /// Returns an error without a position.
    pub fn error(code: FindingCode, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into(), help.into())
    }

    /// Returns a warning without a position.
    pub fn warning(code: FindingCode, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into(), help.into())
    }

    /// Returns a note without position and advice.
    pub fn note(code: FindingCode, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message.into(), String::new())
    }

    fn new(severity: Severity, code: FindingCode, message: String, help: String) -> Self {
        debug_assert!(
            severity == Severity::Note || !help.is_empty(),
            "{code}: an error or warning needs advice"
        );
        debug_assert!(is_clause(&help), "{code}: advice is a clause: {help}");
        Self {
            severity,
            code,
            file: String::new(),
            line: 0,
            column: 0,
            kind: String::new(),
            object: None,
            field: String::new(),
            message: one_line(&message),
            help: one_line(&help),
        }
    }

    /// Sets the object and the position of `field`, such as `spec.listeners[0].port`. An empty `field` is
    /// the whole object. If the field is absent, the position is that of its nearest present parent.
    #[must_use]
    pub fn at<S>(mut self, kind: &str, object: &Object<S>, field: impl Into<String>) -> Self {
        kind.clone_into(&mut self.kind);
        self.object = Some(object.key());
        self.field = field.into();
        object.origin.file.as_ref().clone_into(&mut self.file);
        if let Some((line, column)) = object.origin.locate(&self.field) {
            self.line = line;
            self.column = column;
        }
        self
    }

    /// Replaces the effect in the message by the statement that the last valid version of `objects` stays in
    /// service.
    pub(crate) fn outlive(&mut self, objects: &[String]) {
        /// Maximum number of object names in the message.
        const LISTED: usize = 5;
        if self.code == FindingCode::UnknownField
            && let Some((fault, _)) = self.message.rsplit_once(": ")
        {
            self.message.truncate(fault.len());
        }
        if let Some((advice, _)) = self.help.split_once("; until then ") {
            self.help.truncate(advice.len());
        }
        let what = match (&self.object, objects) {
            (Some(_), _) => "its last good version stays".to_owned(),
            (None, [one]) => format!("the last good version of {one} stays"),
            (None, all) if all.len() > LISTED => format!(
                "the last good versions of {} and {} more stay",
                all[..LISTED].join(", "),
                all.len() - LISTED
            ),
            (None, all) => format!("the last good versions of {} stay", all.join(", ")),
        };
        let fault = self.message.trim_end_matches('.');
        self.message = format!("{fault}: {what} in service");
    }

    /// Replaces the advice. `help` is one clause.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        debug_assert!(is_clause(&self.help), "{}: {}", self.code, self.help);
        self
    }

    /// Sets the position to `place` in the text of `origin`.
    #[must_use]
    pub(crate) fn placed(mut self, origin: &Origin, place: Place) -> Self {
        origin.file.as_ref().clone_into(&mut self.file);
        self.line = origin.line.max(1) - 1 + place.line;
        self.column = place.column;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_position_is_null() {
        let mut found = Diagnostic::note(FindingCode::PassedOver, "y");
        let value = serde_json::to_value(&found).unwrap();
        for field in ["file", "line", "column", "kind", "object", "field"] {
            assert!(value[field].is_null(), "{field}: {value}");
        }

        (found.file, found.line) = ("a.yaml".to_owned(), 3);
        let value = serde_json::to_value(&found).unwrap();
        assert_eq!(
            (value["file"].as_str(), value["line"].as_u64()),
            (Some("a.yaml"), Some(3))
        );
    }
}
