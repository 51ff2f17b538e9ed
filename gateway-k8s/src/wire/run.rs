//! Ranges of a table of parts.

use serde::{Deserialize, Serialize};

use super::WireError;

/// A range of a table: the first index, and the number of parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Run(pub(super) usize, pub(super) usize);

impl Run {
    /// The items of `table` in this range, with their indices.
    pub(super) fn of<T>(self, table: &[T]) -> Result<impl Iterator<Item = (&T, usize)>, WireError> {
        let Self(first, count) = self;
        let end = first.checked_add(count);
        let found = end.and_then(|end| table.get(first..end));
        let found = found.ok_or(WireError::NoSuchPart(first))?;
        Ok(found.iter().zip(first..))
    }
}

/// Joins adjacent indices into ranges.
pub(super) fn runs(
    places: impl Iterator<Item = Result<usize, WireError>>,
) -> Result<Vec<Run>, WireError> {
    let mut runs: Vec<Run> = Vec::new();
    for place in places {
        let place = place?;
        match runs.last_mut() {
            Some(Run(first, count)) if *first + *count == place => *count += 1,
            _ => runs.push(Run(place, 1)),
        }
    }
    Ok(runs)
}
