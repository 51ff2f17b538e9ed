//! Variables that an expression may use.

use super::types::CelType;

/// The attributes of a variable: names and types.
type Attributes = &'static [(&'static str, CelType)];

/// The variables of an expression, with the attributes of each.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    variables: &'static [(&'static str, Attributes)],
    max_steps: u32,
}

/// The default of [`Environment::max_steps`].
const MAX_STEPS: u32 = 10_000;

impl Environment {
    /// Variables by name, in the order in which their values are passed to
    /// [`Expression::holds`](super::Expression::holds). A variable with an empty list has arbitrary
    /// fields, and may be used as a whole. Any other variable may be used only with one of its
    /// attributes.
    pub const fn new(variables: &'static [(&'static str, Attributes)]) -> Self {
        Self {
            variables,
            max_steps: MAX_STEPS,
        }
    }

    /// Limits the number of syntax-tree nodes that an evaluation visits. The nodes of a macro's
    /// body count once per item. Default: 10 000. Without a limit, nested macros, whose costs
    /// multiply, could block a worker.
    #[must_use]
    pub const fn max_steps(self, max_steps: u32) -> Self {
        Self { max_steps, ..self }
    }

    /// Maximum number of nodes that an evaluation visits.
    pub(super) fn steps(&self) -> u32 {
        self.max_steps
    }

    /// The names of the variables, in the order of their declaration.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.variables.iter().map(|(name, _)| *name)
    }

    /// The attributes of the variable at `place`. `None`: the variable has arbitrary fields, or it is the
    /// variable of a macro.
    pub(crate) fn attributes(&self, place: usize) -> Option<Attributes> {
        let (_, attributes) = self.variables.get(place)?;
        (!attributes.is_empty()).then_some(attributes)
    }

    /// The type of a field of the variable at `place`.
    pub(super) fn attribute_type(&self, place: usize, field: &str) -> CelType {
        let mut known = self.attributes(place).unwrap_or_default().iter();
        let found = known.find(|(name, _)| *name == field);
        found.map_or(CelType::Any, |(_, kind)| *kind)
    }
}
