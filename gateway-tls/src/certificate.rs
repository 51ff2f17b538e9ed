//! A certificate chain with its key: from PEM to a value that says what it is good for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::NamePattern;

/// A certificate chain and its private key, checked to belong together.
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The chain as PEM, leaf first.
    pub chain_pem: String,
    /// The private key as PEM. Never shown by `Debug`.
    pub key_pem: String,
    /// What the leaf is valid for: DNS names of the SAN extension, else the common name.
    pub names: Vec<NamePattern>,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
    /// The key's algorithm.
    pub algorithm: KeyAlgorithm,
}

/// The algorithm of a certificate's key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, P-384 or P-521.
    Ecdsa,
    /// RSA.
    Rsa,
    /// Ed25519.
    Ed25519,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
