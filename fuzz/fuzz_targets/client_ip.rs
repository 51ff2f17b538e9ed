//! The client is the peer or an entry, and what stands to the left of what decides changes nothing.
//!
//! Input: the lines of `X-Forwarded-For`, then what a proxy appends, one line each.
#![no_main]

#[path = "../../gateway-core/tests/properties/client_ip.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
