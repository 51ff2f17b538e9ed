//! A string with command operators is rejected, or has the same value each time.
//!
//! Input: the format string.
#![no_main]

#[path = "../../gateway-core/tests/properties/format.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
