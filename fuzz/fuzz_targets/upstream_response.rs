//! A response of a backend decodes to the same value for any segmentation, and its body has the announced
//! length.
//!
//! Input: flags, the offset of a split as two bytes, then the bytes of the backend.
#![no_main]

#[path = "../../gateway-core/tests/properties/upstream_response.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
