//! Position of a field in the text of a document.

use std::rc::Rc;

use super::tree::{Key, Node, Place, Value, parse};

/// Returns the position of `field` (such as `spec.listeners[0].tls`) below `within` in `text`. For a scalar,
/// this is the position of the value; for a map or list, the position of its key. If the field is absent, the
/// position of the nearest present parent is returned.
pub(crate) fn locate(text: &str, within: &str, field: &str) -> Option<Place> {
    let root = parse(text).ok()?;
    let start = descend(&root, root.place, within);
    let end = descend(&start.0, start.1, field);
    Some(end.1)
}

/// Follows `path` to its last existing node. Returns this node and its position.
fn descend(node: &Rc<Node>, place: Place, path: &str) -> (Rc<Node>, Place) {
    let mut current = (Rc::clone(node), place);
    let mut rest = path.trim_start_matches('.');
    while !rest.is_empty() {
        let Some((next, tail)) = step(&current.0, rest) else {
            break;
        };
        current = next;
        rest = tail.trim_start_matches('.');
    }
    current
}

type Found = (Rc<Node>, Place);

fn step<'p>(node: &Node, path: &'p str) -> Option<(Found, &'p str)> {
    match &node.value {
        Value::List(items) => {
            let (index, tail) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some(((Rc::clone(item), item.place), tail))
        }
        Value::Map(entries) => {
            let ((key, value), tail) = entry(entries, path)?;
            let place = match value.value {
                Value::Scalar(..) if !value.is_null() => value.place,
                _ => key.place,
            };
            Some(((Rc::clone(value), place), tail))
        }
        Value::Scalar(..) => None,
    }
}

/// Returns the entry with which `path` begins. Keys may contain dots, so the longest matching key is used.
fn entry<'n, 'p>(
    entries: &'n [(Key, Rc<Node>)],
    path: &'p str,
) -> Option<(&'n (Key, Rc<Node>), &'p str)> {
    if let Some((key, tail)) = path.strip_prefix("[\"").and_then(|p| p.split_once("\"]")) {
        let found = entries.iter().find(|(k, _)| k.text == key)?;
        return Some((found, tail));
    }
    entries
        .iter()
        .filter_map(|entry| {
            let tail = path.strip_prefix(entry.0.text.as_str())?;
            (tail.is_empty() || tail.starts_with(['.', '['])).then_some((entry, tail))
        })
        .min_by_key(|(_, tail)| tail.len())
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    const GATEWAY: &str = "\
spec:
  listeners:
    - name: https
      tls:
        certificateRefs:
          - name: a
          - kind: Secret
            name: b
      allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {a.b/c: \"x\"}}}}
";

    #[test]
    fn a_field_is_found_or_its_nearest_parent() {
        for (field, line, column) in [
            ("spec.listeners[0].tls.certificateRefs[1].name", 8, 19),
            ("spec.listeners[0].name", 3, 13),
            ("spec.listeners[0].tls", 4, 7),
            ("spec.listeners[0].port", 3, 7),
            ("spec.listeners[7].port", 2, 3),
            ("spec.listeners", 2, 3),
            ("spec", 1, 1),
            ("metadata.name", 1, 1),
            ("", 1, 1),
            (
                "spec.listeners[0].allowedRoutes.namespaces.selector.matchLabels.a.b/c",
                9,
                84,
            ),
            (
                "spec.listeners[0].allowedRoutes.namespaces.selector.matchLabels[\"a.b/c\"]",
                9,
                84,
            ),
        ] {
            let found = locate(GATEWAY, "", field).map(|p| (p.line, p.column));

            assert_eq!(found, Some((line, column)), "{field}");
        }
    }

    #[test]
    fn an_object_of_a_list_is_found_within_its_item() {
        let text = "{\"items\": [\n{\"spec\": {\"a\": 1}},\n{\"spec\": {\"a\": 2}}]}";

        let found = locate(text, "items[1]", "spec.a").map(|p| (p.line, p.column));

        assert_eq!(found, Some((3, 16)));
        assert_eq!(locate("a: [", "", "a"), None);
    }

    /// Trees of maps, lists and distinct numbers: each number identifies its position.
    fn any_tree() -> impl Strategy<Value = Json> {
        let leaf = Just(Json::Null);
        let tree = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 1..4).prop_map(Json::Array),
                btree_map("[a-c]{1,3}(\\.[a-c])?", inner, 1..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        });
        tree.prop_map(|mut tree| {
            number(&mut tree, &mut 1000);
            tree
        })
    }

    fn number(tree: &mut Json, next: &mut u32) {
        match tree {
            Json::Array(items) => items.iter_mut().for_each(|item| number(item, next)),
            Json::Object(map) => map.values_mut().for_each(|item| number(item, next)),
            leaf => {
                *next += 1;
                *leaf = (*next).into();
            }
        }
    }

    fn leaves(tree: &Json, path: String, all: &mut Vec<(String, String)>) {
        match tree {
            Json::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    leaves(item, format!("{path}[{i}]"), all);
                }
            }
            Json::Object(map) => {
                for (key, item) in map {
                    leaves(item, format!("{path}[\"{key}\"]"), all);
                }
            }
            leaf => all.push((path, leaf.to_string())),
        }
    }

    fn block_yaml(tree: &Json, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent);
        match tree {
            Json::Array(items) => {
                for item in items {
                    out.push_str(&format!("\n{pad}-"));
                    block_yaml(item, indent + 2, out);
                }
            }
            Json::Object(map) => {
                for (key, item) in map {
                    out.push_str(&format!("\n{pad}{key}:"));
                    block_yaml(item, indent + 1, out);
                }
            }
            leaf => out.push_str(&format!(" {leaf}")),
        }
    }

    proptest! {
        #[test]
        fn every_value_of_a_generated_document_is_found(tree in any_tree()) {
            let mut yaml = String::new();
            block_yaml(&tree, 0, &mut yaml);
            let pretty = serde_json::to_string_pretty(&tree).expect("it is JSON");
            let mut all = Vec::new();
            leaves(&tree, String::new(), &mut all);
            for text in [yaml, pretty, tree.to_string()] {
                for (path, leaf) in &all {
                    let place = locate(&text, "", path).expect("the text is well-formed");
                    let line = text.lines().nth(place.line - 1).expect("the line exists");

                    prop_assert!(line[place.column - 1..].starts_with(leaf.as_str()), "{path} in {text}");
                }
            }
        }

        #[test]
        fn no_path_panics(path in "[a-c.\\[\\]\"0-9]{0,20}", text in "[a-c:\\[\\]{}, \n-]{0,40}") {
            let _ = locate(&text, &path, &path);
        }
    }
}
