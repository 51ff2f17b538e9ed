//! Errors of TLS settings.

use crate::certificate::CertificateError;
use crate::ciphers::{CipherError, GroupError};

/// Error in TLS settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The listener has no certificate.
    #[error("no certificate")]
    NoCertificate,
    /// A certificate or its key is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A cipher suite is unusable.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// A key-exchange group is unusable.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A signature scheme is not supported.
    #[error("signature scheme {0:?} is not supported")]
    SignatureScheme(String),
    /// The lowest version is above the highest.
    #[error("the lowest TLS version is above the highest")]
    Versions,
    /// An ALPN protocol is empty or longer than 255 bytes (RFC 7301, section 3.1).
    #[error("{0:?} is not an ALPN protocol")]
    Alpn(String),
    /// A server name, or an expected name of a certificate, is not a DNS name.
    #[error("{0:?} is not a DNS name")]
    ServerName(String),
    /// The CA certificates are empty or malformed.
    #[error("trusted certificates: {0}")]
    Roots(String),
    /// The revocation lists are empty, malformed or of an unsupported form.
    #[error("revocation lists: {0}")]
    Revocation(String),
    /// The regular expression of a condition on names is invalid.
    #[error("subject alternative names: {0}")]
    AltName(String),
    /// Any other error of rustls.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Checks the lengths of ALPN protocols.
pub(crate) fn check_alpn(protocols: &[String]) -> Result<Vec<Vec<u8>>, TlsError> {
    protocols
        .iter()
        .map(|protocol| match protocol.len() {
            1..=255 => Ok(protocol.as_bytes().to_vec()),
            _ => Err(TlsError::Alpn(protocol.clone())),
        })
        .collect()
}
