//! Normalising a path never panics. Normalising the result again does not change it.

use towergate_core::http::path::{Normalized, normalize};
use towergate_core::plan::{EscapedSlashes, PathSettings};

/// Input: the path.
pub fn check(bytes: &[u8]) {
    let Ok(target) = std::str::from_utf8(bytes) else {
        return;
    };
    for merge_slashes in [true, false] {
        let settings = PathSettings {
            merge_slashes,
            escaped_slashes: EscapedSlashes::UnescapeAndForward,
        };
        if let Ok(Normalized::Changed(path)) = normalize(target, &settings) {
            assert_eq!(normalize(&path, &settings), Ok(Normalized::Unchanged));
        }
    }
}
