//! Logs each diagnostic once, when it appears.

use std::collections::BTreeSet;

use towergate_k8s::decode::Severity;
use towergate_k8s::{Diagnostic, FindingCode};

/// Maximum number of lines per resolution.
const MAX_LINES: usize = 50;

/// The diagnostics of the last call. They have already been logged.
#[derive(Debug, Default)]
pub(crate) struct DiagnosticsLog(BTreeSet<Diagnostic>);

impl DiagnosticsLog {
    /// Logs the entries of `diagnostics` that the previous call did not receive. `diagnostics` contains all
    /// current diagnostics.
    pub(crate) fn log_new<'a>(&mut self, diagnostics: impl Iterator<Item = &'a Diagnostic>) {
        let now: BTreeSet<Diagnostic> = diagnostics.cloned().collect();
        let new: Vec<_> = now.difference(&self.0).collect();
        for diagnostic in new.iter().take(MAX_LINES) {
            log(diagnostic);
        }
        if new.len() > MAX_LINES {
            tracing::warn!(
                suppressed = new.len() - MAX_LINES,
                "further diagnostics suppressed"
            );
        }
        self.0 = now;
    }
}

/// Whether a finding appears in no status, because it is about Ingresses, which have no conditions. It is
/// then logged as a warning.
fn is_in_no_status(code: FindingCode) -> bool {
    matches!(
        code,
        FindingCode::NotTranslated | FindingCode::NoIngressOfClass
    )
}

fn log(diagnostic: &Diagnostic) {
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
        _ if is_in_no_status(diagnostic.code) => {
            tracing::warn!(code, kind, object, field, help, "{message}");
        }
        Severity::Error => tracing::warn!(code, kind, object, field, help, "{message}"),
        _ => tracing::info!(code, kind, object, field, help, "{message}"),
    }
}
