//! Any first bytes of a client yield an error or a normalised server name, regardless of how they are split.
#![no_main]

#[path = "../../gateway-core/tests/properties/client_hello.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
