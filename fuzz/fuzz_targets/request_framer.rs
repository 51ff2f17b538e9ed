//! Requests are framed identically for any segmentation of their bytes.
#![no_main]

#[path = "../../gateway-core/tests/properties/request_framer.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
