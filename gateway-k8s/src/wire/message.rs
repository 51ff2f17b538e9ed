//! Messages of a data plane.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::frame::write_json;
use super::{Digest, Kind, WireError};

/// The first message: the name of the data plane and the parts that it holds.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Name of the data plane: its pod or host.
    pub name: String,
    /// Digests of the parts that the data plane holds, in the order of its table.
    pub parts: Vec<Digest>,
    /// Digest of the endpoints that the data plane holds; `None`: it holds none.
    pub endpoints: Option<Digest>,
}

/// A report about a version.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct VersionReport {
    /// The version.
    pub version: u64,
    /// Whether the version is served.
    pub outcome: Outcome,
}

/// Whether a version is served.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The version is served.
    InForce,
    /// The version is not served; the previous version remains in service.
    Refused(Problem),
}

/// Why a version is not served.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The reason, as text.
    pub message: String,
    /// Addresses that could not be bound.
    pub sockets: Vec<SocketAddr>,
}

impl Hello {
    /// Appends the frame.
    ///
    /// # Errors
    /// If the frame exceeds the maximum length.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        write_json(out, Kind::Hello, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If the frame has another kind or is malformed.
    pub fn read(kind: Kind, payload: &[u8]) -> Result<Self, WireError> {
        read(Kind::Hello, kind, payload)
    }
}

impl VersionReport {
    /// Appends the frame.
    ///
    /// # Errors
    /// If the frame exceeds the maximum length.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        write_json(out, Kind::Report, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If the frame has another kind or is malformed.
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
