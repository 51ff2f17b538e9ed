//! The TLS settings of a listener, and the rustls configuration built from them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use rustls::ServerConfig;

use crate::Certificate;

/// How a listener speaks TLS. The defaults are Envoy Gateway's.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ServerTls {
    /// Certificates in the order of the listener's `certificateRefs`; of equals the first wins.
    pub certificates: Vec<Arc<Certificate>>,
    /// The lowest version offered.
    pub min_version: TlsVersion,
    /// The highest version offered.
    pub max_version: TlsVersion,
    /// TLS 1.2 suites by IANA name, in order of preference; empty: the default list.
    pub ciphers: Vec<String>,
    /// Key-exchange groups by name (`X25519MLKEM768`, `X25519`, `P-256`, `P-384`); empty: the provider's.
    pub groups: Vec<String>,
    /// ALPN protocols, in order of preference; empty: no ALPN.
    pub alpn: Vec<String>,
    /// Session ids (TLS 1.2) and stateful tickets.
    pub stateful_resumption: bool,
    /// Stateless session tickets.
    pub stateless_resumption: bool,
    /// What a client gets whose SNI no certificate covers.
    pub unknown_name: UnknownName,
}

/// A protocol version that rustls can serve.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// What to do about a server name without a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum UnknownName {
    /// Hand out the first certificate, as Envoy does: the client decides.
    #[default]
    FirstCertificate,
    /// Refuse with the alert `unrecognized_name` (RFC 6066, section 3).
    Refuse,
}

impl Default for ServerTls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            ciphers: Vec::new(),
            groups: Vec::new(),
            alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
            stateful_resumption: false,
            stateless_resumption: false,
            unknown_name: UnknownName::default(),
        }
    }
}
