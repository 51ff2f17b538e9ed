//! Names, certificates and TLS settings of the Towergate gateway, without any HTTP.
//!
//! What is decided where:
//!
//! ```text
//! per process    the CryptoProvider, by argument: this crate installs no default
//! per listener   ServerTls: versions, ciphers, ALPN, resumption, certificates, what clients must show
//! per handshake  the certificate, by SNI (sni), within the deadline of the acceptor; who the client is
//! ```
//!
//! Configuration is plain data ([`ServerTls`], [`Certificate`]); what runs is built from it.

pub mod acceptor;
pub mod certificate;
pub mod ciphers;
pub mod client;
pub mod client_auth;
pub mod connector;
pub mod error;
pub mod listener;
pub mod name;
pub mod peer;
pub mod server;
pub mod sni;

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod client_auth_tests;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod handshake_tests;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod hello_tests;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod testing;

pub use rustls;

pub use certificate::Certificate;
pub use client_auth::{ClientAuth, ClientAuthMode};
pub use error::TlsError;
pub use name::{NameMap, NamePattern};
pub use peer::ClientCertificate;
pub use server::ServerTls;

/// The provider of this crate: aws-lc-rs, which prefers the group X25519MLKEM768, with AES-128 before
/// AES-256. Not installed as the default of the process, which is for binaries to decide.
#[cfg(feature = "aws-lc-rs")]
pub fn default_provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    ciphers::sort(&mut provider.cipher_suites);
    std::sync::Arc::new(provider)
}
