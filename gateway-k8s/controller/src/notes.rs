//! What is wrong or suspicious, said once in the log when it comes up.

use std::collections::BTreeSet;

use towergate_k8s::Diagnostic;
use towergate_k8s::decode::Severity;

/// Most lines at a time.
const LINES: usize = 50;

/// What was said already.
#[derive(Debug, Default)]
pub(crate) struct Notes(BTreeSet<Diagnostic>);

impl Notes {
    /// Says what is new among `diagnostics`, which are all that there are now.
    pub(crate) fn tell<'a>(&mut self, diagnostics: impl Iterator<Item = &'a Diagnostic>) {
        let now: BTreeSet<Diagnostic> = diagnostics.cloned().collect();
        let new: Vec<_> = now.difference(&self.0).collect();
        for diagnostic in new.iter().take(LINES) {
            say(diagnostic);
        }
        if new.len() > LINES {
            tracing::warn!(
                left_out = new.len() - LINES,
                "more is wrong than is said here"
            );
        }
        self.0 = now;
    }
}

fn say(diagnostic: &Diagnostic) {
    let Diagnostic {
        code,
        kind,
        field,
        message,
        help,
        ..
    } = diagnostic;
    let code = code.as_str();
    let object = diagnostic.object.as_ref();
    let object = object.map(ToString::to_string).unwrap_or_default();
    match diagnostic.severity {
        Severity::Error => tracing::warn!(code, kind, object, field, help, "{message}"),
        _ => tracing::info!(code, kind, object, field, help, "{message}"),
    }
}
