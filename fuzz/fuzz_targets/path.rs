//! Normalising a path never panics, and a second normalisation changes nothing.
#![no_main]

#[path = "../../gateway-core/tests/properties/path.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
