//! Any text gives objects and diagnostics: nothing panics, every place is in the text, and what was read
//! can be resolved.
#![no_main]

#[path = "../../gateway-k8s/tests/properties/manifest.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
