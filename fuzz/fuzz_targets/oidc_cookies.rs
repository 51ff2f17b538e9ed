//! Cookies, states and sealed values that the gateway has not created are never accepted.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| towergate_policy::oidc::fuzzing::cookies(bytes));
