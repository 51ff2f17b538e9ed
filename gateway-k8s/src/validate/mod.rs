//! Validation as in the API server, with the schemas and CEL rules of the CustomResourceDefinitions.
//!
//! Files do not pass through an API server, so objects of Gateway API and policies of Envoy Gateway are
//! validated here against the same definitions. [`schemas.json`](catalog) is generated from them.
//!
//! ```text
//! Node ──prepare──> JSON with defaults ──structure──> violations of single fields
//!                        │                                  │ none that hides a value
//!                        └──────────────cel─────────────────┴──> violations of rules between fields
//! ```
//!
//! The result depends only on the object, so the decoder caches it with the document. The decoder later
//! determines the effect of a violation: the part of the object that contains it fails closed.

mod catalog;
mod prepare;
mod rules;
mod structure;

use towergate_policy::SchemaViolation;

use crate::decode::Node;

/// The violations of an object of `kind`, by field, as the API server would report them. Empty for kinds
/// without a CustomResourceDefinition.
///
/// An object of a version that the definitions do not serve is validated against the newest version.
pub(crate) fn violations(kind: &str, api_version: &str, object: &Node) -> Vec<SchemaViolation> {
    let Some((catalog, root)) = catalog::find(kind, api_version) else {
        return Vec::new();
    };
    let value = prepare::object(catalog, root, object);
    let found = structure::check(catalog, root, &value);
    let mut violations = found.violations;
    if !found.hides_values {
        violations.extend(rules::check(catalog, root, &value));
    }
    violations
}

/// A path within an object, such as `spec.rules[0].matches`, that grows and shrinks with the walk.
#[derive(Debug, Default)]
struct Path(String);

/// The length of a [`Path`] before a step, to return to.
#[derive(Clone, Copy, Debug)]
struct Mark(usize);

impl Path {
    /// Steps down to the property `name`.
    fn enter_property(&mut self, name: &str) -> Mark {
        let mark = Mark(self.0.len());
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
        mark
    }

    /// Steps down to the entry `key` of a map with arbitrary keys.
    fn enter_entry(&mut self, key: &str) -> Mark {
        let mark = Mark(self.0.len());
        self.0.push_str("[\"");
        self.0.push_str(key);
        self.0.push_str("\"]");
        mark
    }

    /// Steps down to the item `index` of a list.
    fn enter_item(&mut self, index: usize) -> Mark {
        let mark = Mark(self.0.len());
        self.0.push('[');
        self.0.push_str(&index.to_string());
        self.0.push(']');
        mark
    }

    /// Steps back up.
    fn leave(&mut self, mark: Mark) {
        self.0.truncate(mark.0);
    }

    /// A violation of the value at this path.
    fn violation(&self, message: impl Into<String>) -> SchemaViolation {
        SchemaViolation {
            field: self.0.clone(),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests;
