//! Whatever a client sends first: an error or a normalised server name, the same for any split.
#![no_main]

#[path = "../../gateway-core/tests/properties/client_hello.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
