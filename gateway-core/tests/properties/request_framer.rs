//! The framing of requests does not depend on the segmentation of their bytes.

use towergate_core::serve::fuzzing::frame_requests;

/// Input: the size of the segments, then the bytes that a client sends.
pub fn check(bytes: &[u8]) {
    let Some((part, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = frame_requests(bytes, bytes.len());
    let parts = frame_requests(bytes, usize::from(*part));

    assert_eq!(parts, whole);
}
