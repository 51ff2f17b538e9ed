//! Encoding of a plan version into frames for receivers of other versions.
//!
//! Work that is the same for every receiver is done once for a version ([`Version::new`]). The rest of an
//! update is written piece by piece while it is sent ([`Sending`]), so a slow receiver costs little memory.

use std::sync::Arc;

use serde::Serialize;
use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

use super::endpoints::{Changes, digest};
use super::frame::write_json;
use super::parts::{Entry, take_apart};
use super::table::{Step, difference};
use super::{Digest, Hello, Kind, WireError, write_frame};

/// Approximate length of a piece of an update, in bytes. A single longer frame is sent as one piece.
const PIECE: usize = 64 << 10;

/// A plan and endpoints, prepared for sending.
#[derive(Clone, Debug)]
pub struct Version {
    number: u64,
    picture: Arc<Picture>,
    endpoints: Arc<Endpoints>,
}

/// A plan, split into parts.
struct Picture {
    plan: Arc<Plan<Policy>>,
    entries: Vec<Entry>,
    /// The JSON of the plan without its parts.
    skeleton: Vec<u8>,
}

impl Version {
    /// The version `number`. Parts that are also in `before` are not encoded again.
    ///
    /// The time grows with the plan: some milliseconds for 10 000 routes.
    ///
    /// # Errors
    /// If the plan has a value that cannot be encoded.
    pub fn new(
        number: u64,
        plan: Arc<Plan<Policy>>,
        endpoints: Arc<Endpoints>,
        before: Option<&Self>,
    ) -> Result<Self, WireError> {
        let before = before.map(|before| &before.picture);
        let mut plan = plan;
        if let Some(before) = before {
            if Arc::ptr_eq(&plan, &before.plan) {
                let picture = Arc::clone(before);
                return Ok(Self {
                    number,
                    picture,
                    endpoints,
                });
            }
            Arc::make_mut(&mut plan).share(&before.plan);
            if *plan == *before.plan {
                let picture = Arc::clone(before);
                return Ok(Self {
                    number,
                    picture,
                    endpoints,
                });
            }
        }
        let known = before.map_or(&[][..], |before| &before.entries);
        let (entries, skeleton) = take_apart(&plan, known)?;
        let skeleton = serde_json::to_vec(&skeleton).map_err(WireError::Unwritable)?;
        let picture = Arc::new(Picture {
            plan,
            entries,
            skeleton,
        });
        Ok(Self {
            number,
            picture,
            endpoints,
        })
    }

    /// The number of the version.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether both versions have the same plan and endpoints. `other` must have been built with this version
    /// as `before`.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.picture, &other.picture) && self.endpoints == other.endpoints
    }
}

/// Omits the content of the plan, which includes private keys.
impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = self.entries.len();
        f.debug_struct("Picture")
            .field("parts", &parts)
            .finish_non_exhaustive()
    }
}

/// The state of a receiver.
#[derive(Debug)]
pub struct Peer {
    plan: Has,
    endpoints: Option<Arc<Endpoints>>,
}

#[derive(Debug)]
enum Has {
    /// The parts that the receiver reported.
    Reported(Vec<Digest>),
    /// The version that was sent to the receiver.
    Sent(Arc<Picture>),
}

impl Peer {
    /// A receiver without a plan.
    pub fn empty() -> Self {
        Self {
            plan: Has::Reported(Vec::new()),
            endpoints: None,
        }
    }

    /// A receiver that reported its parts and the digest of its endpoints in `hello`. If its endpoints equal
    /// those of `current`, only differences of endpoints are sent.
    pub fn new(hello: Hello, current: &Version) -> Self {
        let same = |told| digest(&current.endpoints).is_ok_and(|ours| ours == told);
        Self {
            plan: Has::Reported(hello.parts),
            endpoints: hello
                .endpoints
                .is_some_and(same)
                .then(|| current.endpoints.clone()),
        }
    }

    /// The update from the receiver's state to `version`. Afterwards, `version` is the state of the receiver.
    ///
    /// # Errors
    /// If a part cannot be encoded.
    pub fn update(&mut self, version: &Version) -> Result<Sending, WireError> {
        let picture = &version.picture;
        let endpoints = self.endpoints.replace(version.endpoints.clone());
        let sent: Vec<Digest>;
        let have = match &self.plan {
            Has::Sent(before) if Arc::ptr_eq(before, picture) => None,
            Has::Sent(before) => {
                sent = before.entries.iter().map(|entry| entry.digest).collect();
                Some(&sent)
            }
            Has::Reported(digests) => Some(digests),
        };
        let mut tail = Vec::new();
        let mut missing = Vec::new();
        if let Some(have) = have {
            let steps: Vec<Step>;
            (steps, missing) = difference(&picture.entries, have);
            write_json(&mut tail, Kind::Table, &steps)?;
            write_frame(&mut tail, Kind::Plan, |out| {
                out.extend_from_slice(&picture.skeleton);
                Ok(())
            })?;
        }
        for changes in Changes::between(endpoints.as_deref(), &version.endpoints) {
            changes.write(&mut tail)?;
        }
        write_json(
            &mut tail,
            Kind::Commit,
            &Commit {
                version: version.number,
            },
        )?;
        let picture = Arc::clone(picture);
        self.plan = Has::Sent(Arc::clone(&picture));
        Ok(Sending {
            picture,
            missing: missing.into_iter(),
            tail: Some(tail),
        })
    }
}

/// The end of an update.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(super) struct Commit {
    pub(super) version: u64,
}

/// The pieces of an update. All must be sent, in order.
#[derive(Debug)]
pub struct Sending {
    picture: Arc<Picture>,
    missing: std::vec::IntoIter<usize>,
    tail: Option<Vec<u8>>,
}

impl Iterator for Sending {
    type Item = Result<Vec<u8>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Vec::new();
        while piece.len() < PIECE {
            let Some(place) = self.missing.next() else {
                break;
            };
            if let Err(error) = self.picture.entries[place].part.write(&mut piece) {
                return Some(Err(error));
            }
        }
        if piece.is_empty() {
            return self.tail.take().map(Ok);
        }
        Some(Ok(piece))
    }
}
