//! What a data plane says.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::frame::write_json;
use super::{Digest, Kind, WireError};

/// The first message: who speaks, and what it has.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// What the data plane calls itself: its pod or host.
    pub name: String,
    /// Its parts, in the order of its table.
    pub parts: Vec<Digest>,
    /// Its endpoints, if it has any.
    pub endpoints: Option<Digest>,
}

/// What became of a version.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version.
    pub version: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Whether a version is served.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is.
    InForce,
    /// It is not; the one before it still is.
    Refused(Problem),
}

/// Why a version is not served.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The reason, for people.
    pub message: String,
    /// Addresses that could not be bound.
    pub sockets: Vec<SocketAddr>,
}

impl Hello {
    /// Appends the frame.
    ///
    /// # Errors
    /// If it is too long.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        write_json(out, Kind::Hello, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If it is another one.
    pub fn read(kind: Kind, payload: &[u8]) -> Result<Self, WireError> {
        read(Kind::Hello, kind, payload)
    }
}

impl Report {
    /// Appends the frame.
    ///
    /// # Errors
    /// If it is too long.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        write_json(out, Kind::Report, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If it is another one.
    pub fn read(kind: Kind, payload: &[u8]) -> Result<Self, WireError> {
        read(Kind::Report, kind, payload)
    }
}

fn read<'a, T: Deserialize<'a>>(wanted: Kind, kind: Kind, text: &'a [u8]) -> Result<T, WireError> {
    if kind != wanted {
        return Err(WireError::Unexpected(kind));
    }
    serde_json::from_slice(text).map_err(|error| WireError::malformed(kind, &error))
}
