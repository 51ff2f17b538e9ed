//! A PROXY header reads the same however it arrives, nothing more is asked for than it needs, and what
//! it says can be written and read again.
#![no_main]

#[path = "../../gateway-core/tests/properties/proxy_protocol.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
