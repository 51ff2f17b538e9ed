//! A load report is malformed, or its weight is a positive number.
#![no_main]

#[path = "../../gateway-core/tests/properties/load_report.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
