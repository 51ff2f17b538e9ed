//! A token is accepted only with the signature of its bytes, and is decoded in one way.
//!
//! Input: a compact token.
#![no_main]

#[path = "../../gateway-policy/tests/properties/token.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
