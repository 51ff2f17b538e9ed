//! Ingresses that are served without a migration of their manifests (`--ingress-class`): the
//! translation of `towergate migrate`, in memory.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use towergate_k8s::ObjectKey;
use towergate_k8s::ingress::{Manifests, MigrateOptions, translate};

use crate::default_certificate;

/// Name of the translation in diagnostics.
pub(crate) const NAME: &str = "<ingresses>";

/// Translates the Ingresses of `class` in `files`. Empty: there are none.
///
/// The loader of manifests reports files that cannot be read.
pub(crate) fn translate_files(files: &[PathBuf], class: &str) -> String {
    let mut manifests = Manifests::default();
    for file in files.iter().filter(|file| *file != Path::new(NAME)) {
        if let Ok(text) = fs::read_to_string(file) {
            manifests.add(&file.display().to_string(), &text);
        }
    }
    if manifests.ingresses.is_empty() {
        return String::new();
    }
    let options = MigrateOptions {
        gateway: ObjectKey::new("ingress-nginx", class),
        flags: vec![format!("ingress-class={class}")],
        ..MigrateOptions::default()
    };
    let migration = translate(&manifests, &options);
    let mut text = String::new();
    for content in migration.objects.files().values() {
        let _ = write!(text, "---\n{content}");
    }
    if let Some(key) = &migration.default_certificate {
        let _ = write!(text, "---\n{}", default_certificate::of_process(key));
    }
    text
}
