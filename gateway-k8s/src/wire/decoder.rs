//! Decoding of update frames into plans and endpoints.

use std::mem::take;
use std::sync::Arc;

use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use super::encoder::Commit;
use super::endpoints::{Changes, digest};
use super::intern::Interner;
use super::parts::{Entry, Part, Skeleton};
use super::table::{Step, assemble};
use super::{Digest, Hello, Kind, WireError};

/// Decoder of one stream. The next version is built from the parts of the last version and from the parts
/// that an update adds.
#[derive(Default)]
pub struct Decoder {
    /// The table after the last complete update.
    entries: Vec<Entry>,
    plan: Arc<Plan<Policy>>,
    endpoints: Option<Arc<Endpoints>>,
    /// The update that is being received.
    pending: Pending,
    interner: Interner,
}

#[derive(Default)]
struct Pending {
    sent: Vec<Entry>,
    table: Option<Vec<Entry>>,
    plan: Option<Plan<Policy>>,
    endpoints: Option<Endpoints>,
}

/// A complete version.
#[derive(Clone, Debug)]
pub struct Update {
    /// Number of the version, which reports contain.
    pub version: u64,
    /// The plan; the same allocation as in the previous version if the update did not change it.
    pub plan: Arc<Plan<Policy>>,
    /// The endpoints of all backends.
    pub endpoints: Arc<Endpoints>,
}

impl Decoder {
    /// The first message of a new stream, with the parts that the decoder holds. An incomplete update is
    /// discarded.
    pub fn hello(&mut self, name: &str) -> Hello {
        self.pending = Pending::default();
        let endpoints = self.endpoints.as_deref();
        Hello {
            name: name.to_owned(),
            parts: self.entries.iter().map(|entry| entry.digest).collect(),
            endpoints: endpoints.and_then(|endpoints| digest(endpoints).ok()),
        }
    }

    /// Applies a frame. Returns the version if the frame completes an update.
    ///
    /// # Errors
    /// If the frame is not valid at this point of the stream. The caller must then close the stream.
    pub fn take(&mut self, kind: Kind, payload: &[u8]) -> Result<Option<Update>, WireError> {
        let malformed = |error| WireError::malformed(kind, &error);
        match kind {
            Kind::Head | Kind::Route | Kind::Stream => {
                let mut part = Part::read(kind, payload)?;
                if let Part::Route(route) = &mut part {
                    self.interner.route(route);
                }
                let digest = Digest::of(kind, payload);
                self.pending.sent.push(Entry { digest, part });
            }
            Kind::Table => {
                let steps: Vec<Step> = serde_json::from_slice(payload).map_err(malformed)?;
                let sent = take(&mut self.pending.sent);
                self.pending.table = Some(assemble(&steps, &self.entries, sent)?);
            }
            Kind::Plan => {
                let skeleton: Skeleton = serde_json::from_slice(payload).map_err(malformed)?;
                let table = self
                    .pending
                    .table
                    .as_ref()
                    .ok_or(WireError::Unexpected(kind))?;
                self.pending.plan = Some(skeleton.join(table)?);
            }
            Kind::Endpoints => {
                let changes: Changes = serde_json::from_slice(payload).map_err(malformed)?;
                let now = || self.endpoints.as_deref().cloned().unwrap_or_default();
                changes.apply(self.pending.endpoints.get_or_insert_with(now));
            }
            Kind::Commit => {
                let Commit { version } = serde_json::from_slice(payload).map_err(malformed)?;
                return self.commit(version).map(Some);
            }
            Kind::Hello | Kind::Report => return Err(WireError::Unexpected(kind)),
        }
        Ok(None)
    }

    fn commit(&mut self, version: u64) -> Result<Update, WireError> {
        let pending = take(&mut self.pending);
        match (pending.table, pending.plan) {
            (Some(table), Some(plan)) if pending.sent.is_empty() => {
                self.entries = table;
                self.plan = Arc::new(plan);
                self.interner.forget_unused();
            }
            (None, None) if pending.sent.is_empty() => {}
            _ => return Err(WireError::Unexpected(Kind::Commit)),
        }
        if let Some(endpoints) = pending.endpoints {
            self.endpoints = Some(Arc::new(endpoints));
        }
        Ok(Update {
            version,
            plan: Arc::clone(&self.plan),
            endpoints: self.endpoints.get_or_insert_default().clone(),
        })
    }
}
