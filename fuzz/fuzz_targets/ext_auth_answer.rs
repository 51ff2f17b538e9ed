//! Any response of an authorization service decodes to a decision or an error, and changes neither the host
//! nor the framing of a request.
#![no_main]

#[path = "../../gateway-policy/tests/properties/ext_auth_answer.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
