//! An `.htpasswd` file is read whole or refused, and no error quotes a hash.
//!
//! Input: the file.
#![no_main]

#[path = "../../gateway-policy/tests/properties/htpasswd.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
