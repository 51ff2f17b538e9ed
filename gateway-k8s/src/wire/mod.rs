//! How a plan travels from a controller to data planes: messages and their encoding. No I/O.
//!
//! ```text
//! controller                                         data plane
//! Plan, Endpoints ──Version──> Peer::update ─frames─> Decoder ──> Plan, Endpoints
//!                                   <──frames── Hello, Report
//! ```
//!
//! A plan is taken apart into parts: each listener's head, each route. Both sides keep a table
//! of the parts of the last version, in order. An update brings the parts that the other side lacks, says
//! how the new table is made of the old one and of these, and how listeners are made of the table. So the
//! change of one route among ten thousand costs the route and a few lines, and routes that listeners
//! share are sent once. Endpoints travel as differences, too.
//!
//! Parts are known by the SHA-256 of their text. A data plane that comes back tells the digests of what it
//! has, so a new server process sends only what is new.
//!
//! What a controller of another release means by a plan is not known: [`PROTOCOL`] names the release, and
//! other releases are refused. A field that one side did not know could be a rule that it does not enforce.

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
mod table;

#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Update};
pub use digest::Digest;
pub use encoder::{Peer, Sending, Version};
pub use error::WireError;
pub use frame::{FrameReader, Kind, MAX_FRAME, write_frame};
pub use message::{Hello, Outcome, Problem, Report};
pub use name::{CONTROLLER_NAME, SHARED, plane_of_uri, plane_uri};

/// Version of the messages, and the release whose plans they carry. Both sides must have the same.
pub const PROTOCOL: &str = concat!("1+", env!("CARGO_PKG_VERSION"));

/// The header in which both sides say which protocol they speak.
pub const PROTOCOL_HEADER: &str = "towergate-protocol";

/// Where a controller serves plans: `POST`, the request's body towards it, the response's body back.
pub const PATH: &str = "/v1/plan";
