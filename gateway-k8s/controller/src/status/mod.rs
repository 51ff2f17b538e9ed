//! Statuses: from what `resolve` states to what the API server has.
//!
//! ```text
//! Statuses ─┐
//!           ├─ due ──> tasks: objects whose status says something else ──> Writer ──> API server
//! World ────┘                                                                │
//!    ▲                                 the answer, so that it is not told again
//!    └──────────────────────────── watch ◄───────────────────────────────────┘
//! ```
//!
//! Only what differs is written, only the status, and only our part of it. Each write names the version
//! of the object that it was made for; another writer in between makes it start again from a fresh read.

mod due;
mod merge;
mod writer;

pub(crate) use due::{Said, Settled, due};
pub(crate) use writer::{Answer, Writer, now};

use towergate_k8s::ObjectKey;

use crate::kinds::{KINDS, Kind};
use crate::world::Observed;

/// An object with a status, in the order in which statuses are written: classes and Gateways first.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id {
    /// Its kind's place in [`KINDS`].
    kind: usize,
    /// The object.
    pub(crate) object: ObjectKey,
}

impl Id {
    /// The object of this name; `None`: its kind is not watched.
    pub(crate) fn new(kind: &str, object: ObjectKey) -> Option<Self> {
        let kind = KINDS.iter().position(|known| known.name == kind)?;
        Some(Self { kind, object })
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }
}

/// A status that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Of which object.
    pub(crate) id: Id,
    /// The version of the API in which the object is watched.
    pub(crate) version: &'static str,
    /// What is to be said; `None`: nothing, and what we said before is to go.
    pub(crate) desired: Option<serde_json::Value>,
    /// Stands for `desired` when it is compared.
    pub(crate) print: u64,
    /// The object as it was when this was decided.
    pub(crate) observed: Observed,
}
