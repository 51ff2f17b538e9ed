//! A host is refused, or has nothing in it that would make it another one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towergate_core::http::Authority;

fuzz_target!(|text: &str| {
    if let Ok(authority) = text.parse::<Authority>() {
        assert!(!authority.host().contains(['@', ',', '/', ' ', '#', '?']));
        let _ = authority.without_trailing_dot();
    }
});
