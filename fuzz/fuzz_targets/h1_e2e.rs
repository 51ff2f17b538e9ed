//! Whatever bytes a client sends, the backend gets strict requests, no more than are answered, and others
//! are served.
#![no_main]

#[path = "../../gateway-core/tests/lab/mod.rs"]
mod lab;
#[path = "../../gateway-core/tests/properties/h1_e2e.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
