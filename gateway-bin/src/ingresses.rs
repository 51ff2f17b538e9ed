//! Serves Ingresses without a migration of their manifests (`--ingress-class`). The translation is that of
//! `towergate migrate`, in memory.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use towergate_k8s::ingress::verdict::{MigrationOutcome, count};
use towergate_k8s::ingress::{Manifests, MigrateOptions, findings, translate};
use towergate_k8s::{Diagnostic, ObjectKey};

use crate::default_certificate;

/// Name of the translation in diagnostics.
pub(crate) const NAME: &str = "<ingresses>";

/// The Ingresses of a class, as objects of Gateway API.
#[derive(Debug, Default)]
pub(crate) struct TranslatedIngresses {
    /// The objects as manifests. Empty if there are no Ingresses.
    pub(crate) text: String,
    /// Settings that cannot be served as written.
    pub(crate) findings: Vec<Diagnostic>,
    /// Number of settings by outcome.
    pub(crate) settings: Vec<(MigrationOutcome, usize)>,
}

/// Translates the Ingresses of `class` in `files`.
///
/// Files that cannot be read are skipped, because the loader of manifests reports them.
pub(crate) fn translate_files(files: &[PathBuf], class: &str) -> TranslatedIngresses {
    let mut manifests = Manifests::default();
    for file in files.iter().filter(|file| *file != Path::new(NAME)) {
        if let Ok(text) = fs::read_to_string(file) {
            manifests.add(&file.display().to_string(), &text);
        }
    }
    let options = MigrateOptions {
        gateway: ObjectKey::new("ingress-nginx", class),
        flags: vec![format!("ingress-class={class}")],
        only_class: Some(class.to_owned()),
        ..MigrateOptions::default()
    };
    let migration = translate(&manifests, &options);
    let findings = findings(&manifests, &migration, class);
    let settings = count(&migration.verdicts).to_vec();
    let mut text = String::new();
    if manifests.ingresses.is_empty() {
        return TranslatedIngresses {
            text,
            findings,
            settings,
        };
    }
    for content in migration.objects.files().values() {
        let _ = write!(text, "---\n{content}");
    }
    if let Some(key) = &migration.default_certificate {
        let _ = write!(text, "---\n{}", default_certificate::of_process(key));
    }
    TranslatedIngresses {
        text,
        findings,
        settings,
    }
}
