//! Protocol versions, cipher suites, key-exchange groups and signature schemes of connections.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Serialize};

use crate::ciphers::{pick_groups, pick_suites};
use crate::error::TlsError;

/// A protocol version that rustls supports.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

static ONLY_TLS12: [&SupportedProtocolVersion; 1] = [&TLS12];
static ONLY_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];
static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Versions, cipher suites, groups and signature schemes that connections may negotiate.
///
/// ```
/// use towergate_tls::limits::{TlsLimits, TlsVersion};
///
/// let limits = TlsLimits {
///     min_version: TlsVersion::Tls13,
///     groups: vec!["X25519".to_owned()],
///     ..TlsLimits::default()
/// };
/// assert_ne!(limits, TlsLimits::default());
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct TlsLimits {
    /// Lowest protocol version. Default: 1.2.
    pub min_version: TlsVersion,
    /// Highest protocol version. Default: 1.3.
    pub max_version: TlsVersion,
    /// TLS 1.2 cipher suites by IANA name, in order of preference. Empty: those of the crypto provider.
    pub ciphers: Vec<String>,
    /// Key-exchange groups by name (`X25519MLKEM768`, `X25519`, `P-256`, `P-384`); empty: those of the crypto
    /// provider.
    pub groups: Vec<String>,
    /// Signature schemes of handshakes by IANA name, in order of preference. Empty: those of the crypto
    /// provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signature_schemes: Vec<String>,
}

impl Default for TlsLimits {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            ciphers: Vec::new(),
            groups: Vec::new(),
            signature_schemes: Vec::new(),
        }
    }
}

impl TlsLimits {
    /// Whether all limits are the defaults.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The permitted protocol versions, the highest first.
    pub(crate) fn versions(
        &self,
    ) -> Result<&'static [&'static SupportedProtocolVersion], TlsError> {
        match (self.min_version, self.max_version) {
            (TlsVersion::Tls12, TlsVersion::Tls12) => Ok(&ONLY_TLS12),
            (TlsVersion::Tls12, TlsVersion::Tls13) => Ok(&BOTH),
            (TlsVersion::Tls13, TlsVersion::Tls13) => Ok(&ONLY_TLS13),
            (TlsVersion::Tls13, TlsVersion::Tls12) => Err(TlsError::Versions),
        }
    }

    /// Returns `provider`, restricted to the configured suites and groups.
    pub(crate) fn restrict(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<CryptoProvider>, TlsError> {
        if self.ciphers.is_empty() && self.groups.is_empty() {
            return Ok(provider);
        }
        let mut restricted = (*provider).clone();
        if !self.ciphers.is_empty() {
            restricted.cipher_suites = pick_suites(&provider, &self.ciphers)?;
        }
        if !self.groups.is_empty() {
            restricted.kx_groups = pick_groups(&provider, &self.groups)?;
        }
        Ok(Arc::new(restricted))
    }
}
