//! Names, certificates and TLS settings of the Towergate gateway, without any HTTP.
//!
//! What is decided where:
//!
//! ```text
//! per process    the CryptoProvider, by argument: this crate installs no default
//! per listener   ServerTls: versions, ciphers, ALPN, resumption, certificates
//! per handshake  the certificate, by SNI (sni), within the deadline of the acceptor
//! ```
//!
//! Configuration is plain data ([`ServerTls`], [`Certificate`]); what runs is built from it.

pub mod acceptor;
pub mod certificate;
pub mod client;
pub mod client_hello;
pub mod name;
pub mod server;
pub mod sni;

pub use certificate::Certificate;
pub use name::{NameMap, NamePattern};
pub use server::ServerTls;
