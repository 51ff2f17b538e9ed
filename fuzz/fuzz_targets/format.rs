//! A format string with command operators is rejected, or yields the same value at each evaluation.
//!
//! Input: the format string.
#![no_main]

#[path = "../../gateway-core/tests/properties/format.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
