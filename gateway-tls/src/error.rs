//! Why TLS settings cannot be built.

use crate::certificate::CertificateError;
use crate::ciphers::{CipherError, GroupError};

/// Why TLS settings cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A listener without certificates cannot speak TLS.
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
    /// The lowest version is above the highest.
    #[error("the lowest TLS version is above the highest")]
    Versions,
    /// An ALPN protocol is empty or longer than 255 bytes (RFC 7301, section 3.1).
    #[error("{0:?} is not an ALPN protocol")]
    Alpn(String),
    /// Not a DNS name, so neither an SNI nor a name to expect in a certificate.
    #[error("{0:?} is not a DNS name")]
    ServerName(String),
    /// The trusted certificates hold no certificate, or one that cannot be read.
    #[error("trusted certificates: {0}")]
    Roots(String),
    /// The library's own reason.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Checks ALPN protocols.
pub(crate) fn check_alpn(protocols: &[String]) -> Result<Vec<Vec<u8>>, TlsError> {
    protocols
        .iter()
        .map(|protocol| match protocol.len() {
            1..=255 => Ok(protocol.as_bytes().to_vec()),
            _ => Err(TlsError::Alpn(protocol.clone())),
        })
        .collect()
}
