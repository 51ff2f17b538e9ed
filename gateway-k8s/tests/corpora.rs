//! Runs the corpus of the manifest fuzz target as an ordinary test.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests fail the test"
)]

#[path = "properties/manifest.rs"]
mod manifest;

use std::path::Path;

#[test]
fn files_of_manifests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/manifest");
    let inputs: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();

    assert!(!inputs.is_empty());
    for input in inputs {
        manifest::check(&std::fs::read(input).unwrap());
    }
}
