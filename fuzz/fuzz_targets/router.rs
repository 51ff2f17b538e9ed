//! A table finds an entry exactly if one of its entries, alone, would be found, and what it finds is
//! one of those.
//!
//! Input: lines. Host, path and query of the request, then entries: a hostname, a letter for the kind
//! of path (`=`, `~`, anything else for a prefix), and the path, separated by blanks.
#![no_main]

#[path = "../../gateway-core/tests/properties/router.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
