//! No cookie, state or sealed value that the gateway has not created is accepted as a session.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| towergate_policy::oidc::fuzzing::cookies(bytes));
