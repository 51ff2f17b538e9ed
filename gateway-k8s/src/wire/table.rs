//! Tables of parts, and the steps from one table to another.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::parts::Entry;
use super::run::Run;
use super::{Digest, WireError};

/// A step in building a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Copy a range of the previous table.
    Keep(Run),
    /// Take this many of the parts that were sent, in order.
    Add(usize),
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
