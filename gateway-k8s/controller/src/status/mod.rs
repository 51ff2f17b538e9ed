//! Writes the statuses that `resolve` returns to the API server.
//!
//! ```text
//! Statuses ─┐
//!           ├─ due ──> tasks: objects whose status differs ──> Writer ──> API server
//! ObjectCache ────┘                                                                │
//!    ▲                                 the answer, so that it is not written again
//!    └──────────────────────────── watch ◄───────────────────────────────────┘
//! ```
//!
//! Only differences are written, only in the status, and only in the part of this controller. Each write names the
//! `resourceVersion` that it is based on; a conflict starts again from a fresh read.

mod due;
mod merge;
mod writer;

pub(crate) use due::{DesiredStatuses, LastWritten, due};
pub(crate) use writer::{Answer, Writer, now};

use towergate_k8s::ObjectKey;

use crate::kinds::{KINDS, Kind};
use crate::object_cache::Observed;

/// An object with a status, in the order of writing: GatewayClasses and Gateways first.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id {
    /// Index of its kind in [`KINDS`].
    kind: usize,
    /// The object.
    pub(crate) object: ObjectKey,
}

impl Id {
    /// The object of this name. `None`: its kind is not watched.
    pub(crate) fn new(kind: &str, object: ObjectKey) -> Option<Self> {
        let kind = KINDS.iter().position(|known| known.name == kind)?;
        Some(Self { kind, object })
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }
}

/// A status to write.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The object.
    pub(crate) id: Id,
    /// The API version in which the object is watched.
    pub(crate) version: &'static str,
    /// The desired status. `None`: the entries of this controller are removed.
    pub(crate) desired: Option<serde_json::Value>,
    /// Hash of `desired`.
    pub(crate) print: u64,
    /// The object on which the decision is based.
    pub(crate) observed: Observed,
}
