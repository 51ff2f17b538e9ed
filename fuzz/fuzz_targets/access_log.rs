//! Any line of an access log parses to a request or an error. A parsed request, written as a line, parses to
//! the same request.
//!
//! Input: a line.
#![no_main]

#[path = "../../gateway-k8s/tests/properties/access_log.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
