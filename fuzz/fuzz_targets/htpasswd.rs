//! An `.htpasswd` file is accepted or rejected as a whole, and no error contains a hash.
//!
//! Input: the file.
#![no_main]

#[path = "../../gateway-policy/tests/properties/htpasswd.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
