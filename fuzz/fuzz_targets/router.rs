//! A lookup finds an entry if and only if at least one entry matches in a table of its own; the result is one
//! of these entries.
//!
//! Input: lines. Host, path and query of the request, then entries: a hostname, a letter for the kind
//! of path (`=`, `~`, anything else for a prefix), and the path, separated by spaces.
#![no_main]

#[path = "../../gateway-core/tests/properties/router.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
