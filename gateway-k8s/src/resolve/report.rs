//! Collects what is wrong or suspicious, with its place.

use crate::decode::Diagnostic;
use crate::objects::{Object, ObjectKey, Origin};

/// What a diagnostic is about.
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

/// Diagnostics as they are found.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Diagnostic>);

impl Report {
    /// Part of the configuration is not in force.
    pub(super) fn error(
        &mut self,
        code: &'static str,
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

    /// It is in force, but hardly what was meant.
    pub(super) fn warn(
        &mut self,
        code: &'static str,
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

    /// Worth knowing.
    pub(super) fn note(
        &mut self,
        code: &'static str,
        subject: &Subject<'_>,
        field: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let note = Diagnostic::note(code, message).with_help(help);
        self.add(note, subject, field.into());
    }

    fn add(&mut self, mut found: Diagnostic, subject: &Subject<'_>, field: String) {
        // Where nothing smaller is at fault, the object's name tells more than its first line.
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

    /// All of them, in order of place, without repetitions.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.0.sort_by(|a, b| {
            let order = |d: &Diagnostic| (d.file.clone(), d.line, d.kind.clone(), d.object.clone());
            order(a).cmp(&order(b)).then_with(|| a.cmp(b))
        });
        self.0.dedup();
        self.0
    }
}
