//! Collects diagnostics with their places.

use crate::decode::Diagnostic;
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey, Origin};

/// The object of a diagnostic.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    kind: &'static str,
    key: ObjectKey,
    origin: &'a Origin,
}

impl<'a> Subject<'a> {
    /// An object of a kind.
    pub(super) fn new<S>(kind: &'static str, object: &'a Object<S>) -> Self {
        Self {
            kind,
            key: object.key(),
            origin: &object.origin,
        }
    }
}

/// Diagnostics in the order in which they are found.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Diagnostic>);

impl Report {
    /// Adds an error: part of the configuration is not in force.
    pub(super) fn error(
        &mut self,
        code: FindingCode,
        subject: &Subject<'_>,
        field: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(
            Diagnostic::error(code, message, help),
            subject,
            field.into(),
        );
    }

    /// Adds a warning: the configuration is in force, but probably not as intended.
    pub(super) fn warn(
        &mut self,
        code: FindingCode,
        subject: &Subject<'_>,
        field: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(
            Diagnostic::warning(code, message, help),
            subject,
            field.into(),
        );
    }

    /// Adds a note.
    pub(super) fn note(
        &mut self,
        code: FindingCode,
        subject: &Subject<'_>,
        field: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let note = Diagnostic::note(code, message).with_help(help);
        self.add(note, subject, field.into());
    }

    /// Adds findings that already have their places.
    pub(super) fn extend(&mut self, found: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(found);
    }

    fn add(&mut self, mut found: Diagnostic, subject: &Subject<'_>, field: String) {
        // The name of an object identifies it better than its first line.
        let place = match field.as_str() {
            "" | "spec" => "metadata.name",
            field => field,
        };
        let place = subject.origin.locate(place);
        (found.line, found.column) = place.unwrap_or((subject.origin.line, 0));
        found.file = subject.origin.file.to_string();
        found.kind = subject.kind.to_owned();
        found.object = Some(subject.key.clone());
        found.field = field;
        self.0.push(found);
    }

    /// All diagnostics, sorted by place, without duplicates.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.0.sort_by(|a, b| {
            let order = |d: &Diagnostic| (d.file.clone(), d.line, d.kind.clone(), d.object.clone());
            order(a).cmp(&order(b)).then_with(|| a.cmp(b))
        });
        self.0.dedup();
        self.0
    }
}
