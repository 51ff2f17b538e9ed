//! Replays the corpora of the fuzz targets in ordinary tests, which include this file by its path.

use std::path::Path;

/// Runs `check` on each input of a target.
pub fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let inputs: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    for input in inputs {
        check(&std::fs::read(input).unwrap());
    }
}
