//! Values of annotations and ConfigMaps that are not strings.
//!
//! The API server rejects these values. If a value were ignored, a path could be served with less protection
//! than written.

use crate::decode::{Node, NodeValue};

/// The path of the first value that is a list or a map, or `path` itself if `map` is not a map.
pub(super) fn not_a_text(path: &str, map: &Node) -> Option<String> {
    let NodeValue::Map(entries) = &map.value else {
        return Some(path.to_owned());
    };
    let wrong = entries
        .iter()
        .find(|(_, value)| !value.is_null() && value.text().is_none());
    wrong.map(|(key, _)| format!("{path}.{}", key.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::parse_tree;

    #[test]
    fn a_list_or_map_is_named() {
        for (text, expected) in [
            ("{a: b, c: 5, d: true, e: }", None),
            ("{a: b, c: [d]}", Some("data.c")),
            ("{a: {b: c}}", Some("data.a")),
            ("[a]", Some("data")),
            ("a", Some("data")),
        ] {
            let node = parse_tree(text).unwrap();

            assert_eq!(not_a_text("data", &node).as_deref(), expected, "{text}");
        }
    }
}
