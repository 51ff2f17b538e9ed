//! Properties of decoded query parameters.

use towergate_core::http::query::{decode, first_value};

/// A decoded text is stable apart from `%`, has no new control character or space, and the first parameter with a
/// name has the decoded text after its first `=`.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let decoded = decode(text);
    assert!(decoded.len() <= text.len(), "{text:?}");
    let unsafe_characters = |text: &str| {
        let found = text
            .chars()
            .filter(|c| c.is_control() || *c == ' ' || !c.is_ascii());
        found.collect::<String>()
    };
    assert_eq!(unsafe_characters(&decoded), unsafe_characters(text));
    if !text.contains('%') {
        assert_eq!(decoded, text);
    }
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        let found = first_value(text, &decode(name));
        assert!(found.is_some(), "{pair:?} of {text:?}");
    }
}
