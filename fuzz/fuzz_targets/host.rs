//! A host is refused, or has nothing in it that would make it another one.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use towergate_core::http::Authority;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };

    if let Ok(authority) = Authority::parse(&value) {
        assert!(!authority.host().contains(['@', ',', '/', ' ', '#', '?']));
        let _ = authority.without_trailing_dot();
    }
});
