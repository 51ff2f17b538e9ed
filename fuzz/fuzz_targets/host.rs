//! An accepted host contains no delimiter that another parser could interpret as the end of the host.
#![no_main]

#[path = "../../gateway-core/tests/properties/host.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
