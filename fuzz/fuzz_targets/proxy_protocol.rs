//! A PROXY header decodes to the same value for any segmentation. `needed` never exceeds the number of
//! missing bytes. Encoding the decoded command and decoding it again returns the same command.
#![no_main]

#[path = "../../gateway-core/tests/properties/proxy_protocol.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
