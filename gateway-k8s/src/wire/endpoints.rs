//! Differences of endpoints.

use serde::{Deserialize, Serialize};
use towergate_core::plan::{BackendId, Endpoint, EndpointAddress, Endpoints};

use super::frame::write_json;
use super::{Digest, Kind, WireError};

/// Maximum number of backends in one frame.
const BACKENDS: usize = 500;

/// One frame of differences.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Changes {
    /// Whether all backends are removed first.
    afresh: bool,
    /// Backends that are removed.
    gone: Vec<BackendId>,
    /// Backends that are added or changed, with all their addresses.
    set: Vec<(BackendId, Vec<(EndpointAddress, u32)>)>,
}

impl Changes {
    /// The differences from `before` to `after`, in frames of bounded length; `None`: the receiver's
    /// endpoints are unknown. Empty if both are equal.
    pub(super) fn between(before: Option<&Endpoints>, after: &Endpoints) -> Vec<Self> {
        let none = Endpoints::new();
        let known = before.unwrap_or(&none);
        let gone = known.keys().filter(|id| !after.contains_key(*id));
        let gone: Vec<BackendId> = gone.cloned().collect();
        let set = after
            .iter()
            .filter(|(id, all)| known.get(*id) != Some(*all));
        let set: Vec<_> = set.map(|(id, all)| (id.clone(), plain(all))).collect();

        let mut changes: Vec<Self> = Vec::new();
        if before.is_none() {
            changes.push(Self {
                afresh: true,
                ..Self::default()
            });
        }
        changes.extend(gone.chunks(BACKENDS).map(|gone| Self {
            gone: gone.to_vec(),
            ..Self::default()
        }));
        changes.extend(set.chunks(BACKENDS).map(|set| Self {
            set: set.to_vec(),
            ..Self::default()
        }));
        changes
    }

    /// Applies the differences.
    pub(super) fn apply(self, endpoints: &mut Endpoints) {
        if self.afresh {
            endpoints.clear();
        }
        for id in &self.gone {
            endpoints.remove(id);
        }
        for (id, all) in self.set {
            let all = all
                .into_iter()
                .map(|(address, weight)| Endpoint { address, weight });
            endpoints.insert(id, all.collect());
        }
    }

    /// Appends the frame.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        write_json(out, Kind::Endpoints, self)
    }
}

/// The digest of all `endpoints`.
pub(super) fn digest(endpoints: &Endpoints) -> Result<Digest, WireError> {
    let all: Vec<_> = endpoints.iter().map(|(id, all)| (id, plain(all))).collect();
    let text = serde_json::to_vec(&all).map_err(WireError::Unwritable)?;
    Ok(Digest::of(Kind::Endpoints, &text))
}

/// Serialised without field names, since there may be very many.
fn plain(all: &[Endpoint]) -> Vec<(EndpointAddress, u32)> {
    let plain = |Endpoint { address, weight }: &Endpoint| (address.clone(), *weight);
    all.iter().map(plain).collect()
}
