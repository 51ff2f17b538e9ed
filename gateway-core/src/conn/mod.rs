//! Client connections below HTTP: addresses, PROXY protocol, first bytes, drain.
//!
//! This is the bottom layer of the connection path. It does not depend on the layers above it: `listen`
//! accepts connections, `serve` serves HTTP on them, and `stream` proxies their bytes.

mod addrs;
#[cfg(feature = "gateway")]
pub(crate) mod client_hello;
#[cfg(feature = "gateway")]
pub mod drain;
#[cfg(feature = "gateway")]
mod fingerprint;
#[cfg(feature = "gateway")]
mod guard;
#[cfg(feature = "gateway")]
mod info;
#[cfg(feature = "gateway")]
mod log_throttle;
#[cfg(feature = "gateway")]
pub(crate) mod preamble;
pub mod prefixed;
pub mod proxy;
#[cfg(feature = "gateway")]
pub(crate) mod requests;
#[cfg(feature = "gateway")]
pub(crate) mod socket;

pub use addrs::{ConnectionAddrs, ConnectionAddrsLayer, ConnectionAddrsService};
#[cfg(feature = "gateway")]
pub use drain::Drain;
#[cfg(feature = "gateway")]
pub use fingerprint::TlsFingerprints;
#[cfg(feature = "gateway")]
pub use guard::ConnectionGuard;
#[cfg(feature = "gateway")]
pub use info::ConnInfo;
#[cfg(feature = "gateway")]
pub use log_throttle::LogThrottle;
#[cfg(feature = "gateway")]
pub use towergate_tls::acceptor::Negotiated;
