//! Query parameters are decoded without a panic, and every parameter is found by its decoded name.
//!
//! Input: a query.
#![no_main]

#[path = "../../gateway-core/tests/properties/query.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
