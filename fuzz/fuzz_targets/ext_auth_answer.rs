//! Any bytes as the response of an authorization service are a decision or an error, and change neither host nor
//! framing of a request.
#![no_main]

#[path = "../../gateway-policy/tests/properties/ext_auth_answer.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
