//! A host is rejected, or contains no delimiter that another parser could interpret as its end.

use towergate_core::http::Authority;

/// Input: the host.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(authority) = text.parse::<Authority>() {
        assert!(!authority.host().contains(['@', ',', '/', ' ', '#', '?']));
        let _ = authority.without_trailing_dot();
    }
}
