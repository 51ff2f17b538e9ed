//! Names, certificates and TLS settings of the Towergate gateway, without HTTP.
//!
//! | module | scope | contents |
//! |---|---|---|
//! | [`name`] | | hostname patterns of Gateway API, and maps keyed by them |
//! | `server`, `certificate`, `client_auth`, `client_conditions`, `revocation`, `ciphers` | per listener | [`ServerTls`]: versions, ciphers, ALPN, session resumption, certificates, verification of clients |
//! | `sni`, `acceptor`, `listener`, `peer` | per handshake | handshake with a time limit, certificate selection by SNI, identity of the client |
//! | `client`, `connector` | per backend | `ClientTls`: verification of the server, client certificate |
//!
//! Settings are plain data; `build` converts them to a configuration of rustls. The crypto provider is an
//! argument: this crate installs no default provider for the process.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `rustls` | yes | all modules except [`name`] |
//! | `aws-lc-rs` | yes | `default_provider`: aws-lc-rs; implies `rustls` |
//!
//! Without `aws-lc-rs` any `rustls::crypto::CryptoProvider` can be passed. Without `rustls` the crate
//! contains only [`name`] and does not depend on a TLS library.
//!
//! # Example
//!
//! Server configuration that selects certificates by server name:
//!
#![cfg_attr(
    feature = "aws-lc-rs",
    doc = "```
use towergate_tls::{Certificate, ServerTls, default_provider};

let pair = rcgen::generate_simple_self_signed([\"www.example.com\".to_owned()])?;
let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
let tls = ServerTls {
    certificates: vec![Certificate::from_pem(chain, key)?.into()],
    alpn: vec![\"h2\".to_owned(), \"http/1.1\".to_owned()],
    ..ServerTls::default()
};
let config = tls.build(default_provider(), None)?; // Arc<rustls::ServerConfig>
# assert_eq!(config.alpn_protocols.len(), 2);
# Ok::<(), Box<dyn std::error::Error>>(())
```"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "rustls")]
pub mod acceptor;
#[cfg(feature = "rustls")]
pub mod certificate;
#[cfg(feature = "rustls")]
pub mod ciphers;
#[cfg(feature = "rustls")]
pub mod client;
#[cfg(feature = "rustls")]
pub mod client_auth;
#[cfg(feature = "rustls")]
pub mod client_conditions;
#[cfg(feature = "rustls")]
pub mod connector;
#[cfg(feature = "rustls")]
pub mod error;
#[cfg(feature = "rustls")]
mod key_type;
#[cfg(feature = "rustls")]
pub mod limits;
#[cfg(feature = "rustls")]
pub mod listener;
pub mod name;
#[cfg(feature = "rustls")]
pub mod peer;
#[cfg(feature = "rustls")]
mod pem;
#[cfg(feature = "rustls")]
mod provider;
#[cfg(feature = "rustls")]
pub mod revocation;
#[cfg(feature = "rustls")]
pub mod server;
#[cfg(feature = "rustls")]
mod server_verifier;
#[cfg(feature = "rustls")]
pub mod signature_schemes;
#[cfg(feature = "rustls")]
pub mod sni;
#[cfg(feature = "rustls")]
mod trusted_leaf;
#[cfg(feature = "rustls")]
mod version_one;

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod client_auth_tests;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod client_conditions_tests;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod handshake_tests;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod hello_tests;
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod testing;

#[cfg(feature = "rustls")]
pub use rustls;

#[cfg(feature = "rustls")]
pub use certificate::Certificate;
#[cfg(feature = "rustls")]
pub use client_auth::{ClientAuth, ClientAuthMode};
#[cfg(feature = "rustls")]
pub use client_conditions::ClientConditions;
#[cfg(feature = "rustls")]
pub use error::TlsError;
pub use name::{NameMap, NamePattern};
#[cfg(feature = "rustls")]
pub use peer::ClientCertificate;
#[cfg(feature = "rustls")]
pub use provider::Provider;
#[cfg(feature = "aws-lc-rs")]
pub use provider::default_provider;
#[cfg(feature = "rustls")]
pub use revocation::Revocation;
#[cfg(feature = "rustls")]
pub use server::ServerTls;
