//! Typical installations of ingress-nginx, and their translations.
//!
//! Each folder of `tests/ingress` has `in.yaml`, the objects that are written (`out.yaml`) and the
//! report (`report.txt`). `UPDATE=1 cargo test -p towergate-k8s --test ingress` writes the latter two.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use towergate_k8s::decode::{Severity, decode};
use towergate_k8s::ingress::{Manifests, MigrateOptions, Migration, report, translate};

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ingress");
    let entries = fs::read_dir(root).expect("the folder exists");
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    folders
}

fn migrate(folder: &Path) -> Migration {
    let mut manifests = Manifests::default();
    manifests.add(
        "in.yaml",
        &fs::read_to_string(folder.join("in.yaml")).expect("in.yaml"),
    );
    assert_eq!(manifests.errors, [], "{}", folder.display());
    translate(&manifests, &MigrateOptions::default())
}

fn written(migration: &Migration) -> String {
    let mut text = String::new();
    for (name, content) in migration.objects.files() {
        let _ = write!(text, "# {name}\n---\n{content}---\n");
    }
    text
}

#[test]
fn each_installation_becomes_the_recorded_objects_and_report() {
    let update = env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for folder in folders() {
        let migration = migrate(&folder);

        for (name, text) in [
            ("out.yaml", written(&migration)),
            ("report.txt", report::text(&migration)),
        ] {
            let path = folder.join(name);
            if update {
                fs::write(&path, &text).expect("the file is written");
            } else if fs::read_to_string(&path).unwrap_or_default() != text {
                wrong.push(path);
            }
        }
    }
    assert_eq!(wrong, [] as [PathBuf; 0], "UPDATE=1 writes them");
}

#[test]
fn every_object_that_is_written_is_valid() {
    for folder in folders() {
        let text = written(&migrate(&folder));

        let decoded = decode("out.yaml", &text);

        let errors: Vec<_> = decoded
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", folder.display());
    }
}

#[test]
fn a_second_translation_gives_the_same_bytes() {
    for folder in folders() {
        assert_eq!(written(&migrate(&folder)), written(&migrate(&folder)));
    }
}
