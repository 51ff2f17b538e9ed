//! A host is refused, or has nothing in it that would make it another one.
#![no_main]

#[path = "../../gateway-core/tests/properties/host.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
