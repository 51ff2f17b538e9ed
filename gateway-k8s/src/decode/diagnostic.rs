//! What is wrong or suspicious, where, and how to mend it.

use serde::Serialize;

use crate::objects::ObjectKey;

/// Something wrong or suspicious in the manifests.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name, such as `unknown-field`.
    pub code: &'static str,
    /// The file; empty: unknown.
    pub file: String,
    /// Line in the file, from 1; 0: unknown.
    pub line: usize,
    /// Column in the line, from 1; 0: unknown.
    pub column: usize,
    /// Kind of the object; empty: unknown.
    pub kind: String,
    /// Name of the object.
    pub object: Option<ObjectKey>,
    /// The field, such as `spec.listeners[0].port`; empty: the whole object.
    pub field: String,
    /// What is wrong, one sentence.
    pub message: String,
    /// How to mend it, one sentence; empty: nothing to say.
    pub help: String,
}

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Part of the configuration is not in force.
    Error,
    /// It is in force, but hardly what was meant.
    Warning,
    /// Worth knowing.
    Note,
}
