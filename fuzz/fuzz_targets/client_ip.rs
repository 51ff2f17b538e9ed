//! The client address is the peer address or an entry of `X-Forwarded-For`. Entries to the left of this entry
//! have no effect.
//!
//! Input: values of `X-Forwarded-For`, one per line.
#![no_main]

#[path = "../../gateway-core/tests/properties/client_ip.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
