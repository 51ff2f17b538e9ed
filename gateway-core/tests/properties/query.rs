//! Properties of decoded query parameters.

use towergate_core::http::query::{decode, first_value};

/// Decoding a text adds no control character, space or non-ASCII character, and changes a text only if it
/// contains `%`. Each parameter of a query is found by its decoded name. Input: the query.
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
