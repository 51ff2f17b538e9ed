//! Normalising a path never panics, and leaves nothing to normalise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towergate_core::http::path::{Normalized, normalize};
use towergate_core::plan::{EscapedSlashes, PathSettings};

fuzz_target!(|input: (&str, bool)| {
    let (target, merge_slashes) = input;
    let escaped_slashes = EscapedSlashes::UnescapeAndForward;
    let settings = PathSettings { merge_slashes, escaped_slashes };

    if let Ok(Normalized::Changed(path)) = normalize(target, &settings) {
        assert_eq!(normalize(&path, &settings), Ok(Normalized::Unchanged));
    }
});
