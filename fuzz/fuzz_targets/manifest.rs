//! Any text decodes to objects and diagnostics: nothing panics, every position is within the input, and the
//! decoded objects can be resolved.
#![no_main]

#[path = "../../gateway-k8s/tests/properties/manifest.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
