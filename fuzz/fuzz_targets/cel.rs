//! A condition compiles or is rejected. The evaluation of a compiled condition terminates, with the same
//! result each time.
//!
//! Input: the expression.
#![no_main]

#[path = "../../gateway-policy/tests/properties/condition.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
