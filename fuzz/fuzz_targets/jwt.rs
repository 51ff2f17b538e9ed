//! A token is accepted only if its signature covers its exact bytes and the token decodes unambiguously.
//!
//! Input: a compact token.
#![no_main]

#[path = "../../gateway-policy/tests/properties/token.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
