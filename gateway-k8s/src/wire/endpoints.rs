//! Differences of endpoints.

use std::sync::Arc;

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
    set: Vec<(BackendId, Vec<EndpointRow>)>,
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

    /// Applies the differences to `endpoints`.
    pub(super) fn apply(self, endpoints: &mut Endpoints) {
        if self.afresh {
            endpoints.clear();
        }
        for id in &self.gone {
            endpoints.remove(id);
        }
        for (id, all) in self.set {
            endpoints.insert(id, all.into_iter().map(Endpoint::from).collect());
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

/// Serialized without field names to save space, because there may be very many endpoints.
fn plain(all: &[Endpoint]) -> Vec<EndpointRow> {
    all.iter().map(EndpointRow::from).collect()
}

/// An endpoint as an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum EndpointRow {
    InZone(EndpointAddress, u32, Arc<str>),
    Plain(EndpointAddress, u32),
}

impl From<&Endpoint> for EndpointRow {
    fn from(endpoint: &Endpoint) -> Self {
        let address = endpoint.address.clone();
        match &endpoint.zone {
            Some(zone) => Self::InZone(address, endpoint.weight, zone.clone()),
            None => Self::Plain(address, endpoint.weight),
        }
    }
}

impl From<EndpointRow> for Endpoint {
    fn from(row: EndpointRow) -> Self {
        let (address, weight, zone) = match row {
            EndpointRow::InZone(address, weight, zone) => (address, weight, Some(zone)),
            EndpointRow::Plain(address, weight) => (address, weight, None),
        };
        Self {
            address,
            weight,
            zone,
        }
    }
}
