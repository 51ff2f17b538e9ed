//! TLS towards backends (BackendTLSPolicy): whom to expect and whom to trust.

use serde::{Deserialize, Serialize};

/// How to speak TLS to a backend (Gateway API `BackendTLSPolicy`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClientTls {
    /// The name sent as SNI, and expected in the certificate unless `subject_alt_names` is given.
    pub server_name: String,
    /// Names of which the certificate must hold at least one; empty: `server_name`.
    pub subject_alt_names: Vec<SubjectAltName>,
    /// Trusted certificates as PEM; `None`: those of the system.
    pub roots_pem: Option<String>,
    /// ALPN protocols, in order of preference.
    pub alpn: Vec<String>,
}

/// A name in a certificate's SAN extension.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum SubjectAltName {
    /// A DNS name.
    Hostname(String),
    /// A URI, compared byte for byte.
    Uri(String),
}
