//! A PROXY header decodes to the same value for any segmentation, `needed` never exceeds the missing bytes,
//! and encoding and decoding the header again returns the same command.
#![no_main]

#[path = "../../gateway-core/tests/properties/proxy_protocol.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
