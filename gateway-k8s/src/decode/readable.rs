//! Partial decoding of an object with type errors.
//!
//! If the object were ignored, a less specific route would match its requests. Therefore the object is kept:
//! each value that does not match its type is replaced by an absent or empty value and recorded as an error,
//! and the part of the object that contains it fails closed.

use std::rc::Rc;

use serde::de::DeserializeOwned;

use super::tree::{Node, Value};
use super::typed::{self, TypeError, UnknownField};

/// Maximum number of invalid values per object that are removed.
const MAX_ERRORS: usize = 64;

/// The valid part of an object.
#[derive(Debug)]
pub(super) struct Readable<S> {
    /// The decoded object; `None` if no part of it can be decoded.
    pub(super) spec: Option<S>,
    /// Type errors of the removed values.
    pub(super) errors: Vec<TypeError>,
    /// Fields that the type does not have.
    pub(super) unknown: Vec<UnknownField>,
}

/// Decodes `body`, which is at `path`. Values that do not match their types are removed first.
pub(super) fn read<S: DeserializeOwned>(body: &Node, path: &str) -> Readable<S> {
    let mut errors: Vec<TypeError> = Vec::new();
    let (mut result, mut unknown) = typed::read::<S>(body, path);
    let mut pruned = None;
    while let Err(error) = result {
        let node = pruned.as_ref().unwrap_or(body);
        let attempts = errors
            .iter()
            .filter(|known| known.path == error.path)
            .count();
        let next = match errors.len() < MAX_ERRORS {
            true => without(node, path, &error.path, attempts),
            false => None,
        };
        errors.push(error);
        let Some(next) = next else {
            return Readable {
                spec: None,
                errors: distinct(errors),
                unknown,
            };
        };
        (result, unknown) = typed::read::<S>(&next, path);
        pruned = Some(next);
    }
    Readable {
        spec: result.ok(),
        errors: distinct(errors),
        unknown,
    }
}

/// Keeps the first error of each path.
fn distinct(errors: Vec<TypeError>) -> Vec<TypeError> {
    let mut kept: Vec<TypeError> = Vec::new();
    for error in errors {
        if !kept.iter().any(|known| known.path == error.path) {
            kept.push(error);
        }
    }
    kept
}

/// Returns `body` with the value at `wrong` replaced. A field becomes null, which counts as absent. An item
/// of a list must keep its index, so it becomes an empty map at the first attempt and an empty string at the
/// second. At the third attempt, the whole list becomes null.
fn without(body: &Node, path: &str, wrong: &str, attempts: usize) -> Option<Node> {
    let within = wrong.strip_prefix(path)?.trim_start_matches('.');
    if within.is_empty() {
        return None;
    }
    let is_item = within.ends_with(']');
    let replacement = match (is_item, attempts) {
        (true, 0) => Value::Map(Vec::new()),
        (true, 1) => Value::Scalar(String::new(), false),
        (true, 2) => {
            let (list, _) = within.rsplit_once('[')?;
            return replaced(body, list, Value::Scalar(String::new(), true));
        }
        (false, 0) => Value::Scalar(String::new(), true),
        _ => return None,
    };
    replaced(body, within, replacement)
}

/// Returns a copy of `node` with another value at `path`.
fn replaced(node: &Node, path: &str, value: Value) -> Option<Node> {
    if path.is_empty() {
        return Some(node.with_value(value));
    }
    let copy = match &node.value {
        Value::List(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let index: usize = index.parse().ok()?;
            let mut items = items.clone();
            let item = items.get_mut(index)?;
            *item = Rc::new(replaced(item, rest.trim_start_matches('.'), value)?);
            Value::List(items)
        }
        Value::Map(entries) => {
            // Keys may contain dots, so the longest matching key is used.
            let fits = |key: &str| {
                let rest = path.strip_prefix(key)?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
            };
            let at = (0..entries.len())
                .filter(|at| fits(&entries[*at].0.text).is_some())
                .max_by_key(|at| entries[*at].0.text.len())?;
            let rest = fits(&entries[at].0.text)?.trim_start_matches('.');
            let mut entries = entries.clone();
            let entry = &mut entries[at].1;
            *entry = Rc::new(replaced(entry, rest, value)?);
            Value::Map(entries)
        }
        Value::Scalar(..) => return None,
    };
    Some(node.with_value(copy))
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse;
    use super::*;
    use crate::api::http_route::HttpRouteSpec;

    fn spec(text: &str) -> (HttpRouteSpec, Vec<String>) {
        let root = parse(text).expect("the text is well-formed");
        let readable = read::<HttpRouteSpec>(&root, "spec");
        let paths = readable.errors.into_iter().map(|error| error.path);
        (
            readable.spec.expect("something can be read"),
            paths.collect(),
        )
    }

    #[test]
    fn values_that_do_not_fit_are_left_out_and_the_rest_is_kept() {
        let (spec, errors) = spec(concat!(
            "hostnames: [a.example.com, 5]\n",
            "rules:\n",
            "- matches: [{path: {value: 1}, method: GET}]\n",
            "- no map\n",
            "- matches: [{path: {value: /b}}]\n",
        ));

        assert_eq!(
            errors,
            [
                "spec.hostnames[1]",
                "spec.rules[0].matches[0].path.value",
                "spec.rules[1]"
            ]
        );
        assert_eq!(spec.hostnames, ["a.example.com", ""]);
        assert_eq!(spec.rules.len(), 3);
    }

    #[test]
    fn an_object_of_which_nothing_fits_is_not_read() {
        let root = parse("[1]").expect("the text is well-formed");

        let readable = read::<HttpRouteSpec>(&root, "spec");

        assert!(readable.spec.is_none());
        assert_eq!(readable.errors.len(), 1);
    }
}
