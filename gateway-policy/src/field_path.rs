//! The path of a field, formatted only when an error needs it.

use std::fmt;

/// The path of a field within a policy, such as `spec.retry.retryOn.triggers[0]`.
///
/// A path borrows its parent, so a conversion without errors allocates no paths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldPath<'a> {
    parent: Option<&'a FieldPath<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl FieldPath<'static> {
    /// The root of all paths.
    pub(crate) const SPEC: Self = Self {
        parent: None,
        step: Step::Name("spec"),
    };
}

impl<'a> FieldPath<'a> {
    /// The field `name` of the object at this path.
    pub(crate) fn field(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Name(name),
        }
    }

    /// The item `index` of the list at this path.
    pub(crate) fn item(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match (self.step, self.parent) {
            (Step::Name(name), None) => f.write_str(name),
            (Step::Name(name), Some(_)) => write!(f, ".{name}"),
            (Step::Index(index), _) => write!(f, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_in_messages_of_the_api_server() {
        let path = FieldPath::SPEC;

        let path = path.field("rateLimit");
        let path = path.field("rules");
        let path = path.item(3);

        assert_eq!(
            path.field("cost").to_string(),
            "spec.rateLimit.rules[3].cost"
        );
    }
}
