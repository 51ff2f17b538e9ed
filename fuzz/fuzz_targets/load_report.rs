//! A load report is rejected, or decodes to a positive weight.
#![no_main]

#[path = "../../gateway-core/tests/properties/load_report.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
