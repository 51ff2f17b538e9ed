//! Any line of an access log is a request or an error, and a written request is parsed back.
//!
//! Input: a line.
#![no_main]

#[path = "../../gateway-k8s/tests/properties/access_log.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
