//! For any bytes from a client, the backend receives only strictly valid requests, and at most as many as the
//! client receives responses. Other clients are still served.
#![no_main]

#[path = "../../gateway-core/tests/lab/mod.rs"]
mod lab;
#[path = "../../gateway-core/tests/properties/h1_e2e.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
