//! Writes the statuses that `resolve` returns to the API server.
//!
//! ```text
//! Statuses ─┐
//!           ├─ due ──> tasks: objects whose status differs ──> Writer ──> API server
//! ObjectCache ────┘                                                                │
//!    ▲                                 stored status, which is not written again
//!    └──────────────────────────── watch ◄───────────────────────────────────┘
//! ```
//!
//! A write contains only the differences in the part of the status that this controller owns. Each write
//! contains the `resourceVersion` that it is based on; after a conflict, the object is read again.

mod due;
mod merge;
mod writer;

pub(crate) use due::{DesiredStatuses, LastWritten, due};
pub(crate) use writer::{Answer, Writer, now};

use towergate_k8s::ObjectKey;

use crate::kinds::{KINDS, Kind};
use crate::object_cache::ObservedObject;

/// The identity of an object with a status. Identities are ordered like the writes of statuses:
/// GatewayClasses and Gateways first.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id {
    /// Index of the kind in [`KINDS`].
    kind: usize,
    /// Namespace and name of the object.
    pub(crate) object: ObjectKey,
}

impl Id {
    /// The identity of an object. `None`: the kind is not watched.
    pub(crate) fn new(kind: &str, object: ObjectKey) -> Option<Self> {
        let kind = KINDS.iter().position(|known| known.name == kind)?;
        Some(Self { kind, object })
    }

    /// The kind of the object.
    pub(crate) fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }
}

/// A status to write.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Namespace and name of the object.
    pub(crate) id: Id,
    /// API version in which the object is watched.
    pub(crate) version: &'static str,
    /// Desired status. `None`: the entries of this controller are removed.
    pub(crate) desired: Option<serde_json::Value>,
    /// Hash of `desired`.
    pub(crate) print: u64,
    /// Metadata and status of the object on which the decision is based.
    pub(crate) observed: ObservedObject,
}
