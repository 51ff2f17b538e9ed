//! Variables that an expression may use.

/// The variables of an expression, with the attributes of each.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    variables: &'static [(&'static str, &'static [&'static str])],
}

impl Environment {
    /// Variables by name, in the order in which their values are passed to
    /// [`Expression::holds`](super::Expression::holds). A variable with an empty list of attributes has any
    /// field, and may be used whole; the others stand only before one of their attributes.
    pub const fn new(variables: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self { variables }
    }

    /// The names of the variables, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.variables.iter().map(|(name, _)| *name)
    }

    /// The attributes of the variable at `place`. `None`: it has any field, or belongs to a macro.
    pub(super) fn attributes(&self, place: usize) -> Option<&'static [&'static str]> {
        let (_, attributes) = self.variables.get(place)?;
        (!attributes.is_empty()).then_some(attributes)
    }
}
