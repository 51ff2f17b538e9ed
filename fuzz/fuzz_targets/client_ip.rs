//! The client address is that of the peer or of an entry, and entries to the left of it have no effect.
//!
//! Input: the lines of `X-Forwarded-For`, then what a proxy appends, one line each.
#![no_main]

#[path = "../../gateway-core/tests/properties/client_ip.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
