//! Tables of parts: ranges of indices, and the steps from one table to another.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::parts::Entry;
use super::{Digest, WireError};

/// A range of a table: the first index, and the number of parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Run(usize, usize);

/// A step in building a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Copy a range of the previous table.
    Keep(Run),
    /// Take this many of the parts that were sent, in order.
    Add(usize),
}

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

/// The steps that build `wanted` from a table with the parts `have`, and the indices in `wanted` of missing
/// parts.
pub(super) fn difference(wanted: &[Entry], have: &[Digest]) -> (Vec<Step>, Vec<usize>) {
    let have: HashMap<&Digest, usize> = have.iter().zip(0..).collect();
    let (mut steps, mut missing) = (Vec::new(), Vec::new());
    for (place, entry) in wanted.iter().enumerate() {
        let old = have.get(&entry.digest).copied();
        if old.is_none() {
            missing.push(place);
        }
        match (old, steps.last_mut()) {
            (Some(old), Some(Step::Keep(Run(first, count)))) if *first + *count == old => {
                *count += 1;
            }
            (None, Some(Step::Add(count))) => *count += 1,
            (Some(old), _) => steps.push(Step::Keep(Run(old, 1))),
            (None, _) => steps.push(Step::Add(1)),
        }
    }
    (steps, missing)
}

/// Builds the new table.
pub(super) fn assemble(
    steps: &[Step],
    before: &[Entry],
    sent: Vec<Entry>,
) -> Result<Vec<Entry>, WireError> {
    let mut table = Vec::with_capacity(before.len() + sent.len());
    let mut sent = sent.into_iter();
    for step in steps {
        match *step {
            Step::Keep(run) => table.extend(run.of(before)?.map(|(entry, _)| entry.clone())),
            Step::Add(count) if count <= sent.len() => table.extend(sent.by_ref().take(count)),
            Step::Add(_) => return Err(WireError::NoSuchPart(table.len())),
        }
    }
    match sent.next() {
        None => Ok(table),
        Some(_) => Err(WireError::NoSuchPart(table.len())),
    }
}
