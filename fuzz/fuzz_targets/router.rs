//! A lookup finds one of the entries that match when each is alone in a table, and nothing if none of them
//! does.
//!
//! Input: lines. The first three are host, path and query of the request. Each further line is an entry: a
//! hostname, the kind of path (`=`, `~`, anything else for a prefix), and the path, separated by spaces.
#![no_main]

#[path = "../../gateway-core/tests/properties/router.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::check(bytes));
