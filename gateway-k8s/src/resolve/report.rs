//! Collects what is wrong or suspicious, with its place.

use crate::decode::{Diagnostic, Severity};
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
            Severity::Error,
            code,
            subject,
            field.into(),
            [message.into(), help.into()],
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
            Severity::Warning,
            code,
            subject,
            field.into(),
            [message.into(), help.into()],
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
        self.add(
            Severity::Note,
            code,
            subject,
            field.into(),
            [message.into(), help.into()],
        );
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        subject: &Subject<'_>,
        field: String,
        [message, help]: [String; 2],
    ) {
        let (line, column) = subject
            .origin
            .locate(&field)
            .unwrap_or((subject.origin.line, 0));
        self.0.push(Diagnostic {
            severity,
            code,
            file: subject.origin.file.to_string(),
            line,
            column,
            kind: subject.kind.to_owned(),
            object: Some(subject.key.clone()),
            field,
            message,
            help,
        });
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
