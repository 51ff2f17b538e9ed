//! The protocol that sends plans from a controller to data planes: messages and their encoding. No I/O.
//!
//! ```text
//! controller                                         data plane
//! Plan, Endpoints ──Version──> Peer::update ─frames─> Decoder ──> Plan, Endpoints
//!                                   <──frames── Hello, VersionReport
//! ```
//!
//! A plan is split into parts: each listener without its routes, and each route. Both sides keep a
//! table of the parts of the last version, in order. An update contains the parts that the receiver
//! does not have, the steps from the old table to the new one, and the plan with table indices
//! instead of its parts. If one route of ten thousand changes, only that route and a few lines are
//! sent. A route that several listeners share is sent once. Endpoints are also sent as differences.
//!
//! Parts are identified by the SHA-256 of their text. A data plane that reconnects sends the digests of its
//! parts, so a restarted controller sends only the differences.
//!
//! [`PROTOCOL`] contains the release, and a peer of another release is rejected: a field that one side does not
//! support could be a rule that this side would not enforce.

mod decoder;
mod digest;
mod encoder;
mod endpoints;
mod error;
mod frame;
mod intern;
mod message;
mod name;
mod parts;
mod run;
mod table;

#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Update};
pub use digest::Digest;
pub use encoder::{Peer, Sending, Version};
pub use error::WireError;
pub use frame::{FrameReader, Kind, MAX_FRAME, write_frame};
pub use message::{Hello, Outcome, Problem, VersionReport};
pub use name::{CONTROLLER_NAME, SHARED, plane_of_uri, plane_uri};

/// Version of the protocol and release of the plans. Both sides must have the same version and release.
pub const PROTOCOL: &str = concat!("1+", env!("CARGO_PKG_VERSION"));

/// The header that carries [`PROTOCOL`], in both directions.
pub const PROTOCOL_HEADER: &str = "towergate-protocol";

/// The path of the controller's endpoint: a `POST` whose request body carries messages of the data plane
/// and whose response body carries updates.
pub const PATH: &str = "/v1/plan";
