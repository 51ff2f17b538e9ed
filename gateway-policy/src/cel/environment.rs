//! Variables that an expression may use.

/// The variables of an expression, with the attributes of each.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    variables: &'static [(&'static str, &'static [&'static str])],
    max_steps: u32,
}

/// The default of [`Environment::max_steps`].
const MAX_STEPS: u32 = 10_000;

impl Environment {
    /// Variables by name, in the order in which their values are passed to
    /// [`Expression::holds`](super::Expression::holds). A variable with an empty list of attributes has any
    /// field, and may be used whole; the others may only be used with one of their attributes.
    pub const fn new(variables: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self {
            variables,
            max_steps: MAX_STEPS,
        }
    }

    /// Limits an evaluation to so many nodes of the syntax tree, those of a macro's body counted for each
    /// item. The cost of nested macros multiplies, and the author of a policy must not be able to block a worker.
    /// Default: 10 000.
    #[must_use]
    pub const fn max_steps(self, max_steps: u32) -> Self {
        Self { max_steps, ..self }
    }

    /// The limit of an evaluation.
    pub(super) fn steps(&self) -> u32 {
        self.max_steps
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
