//! No cookie, state or sealed text that the gateway has not written is a session.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| towergate_policy::oidc::fuzzing::cookies(bytes));
