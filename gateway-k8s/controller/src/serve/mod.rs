//! Sends plans to data planes over mutual TLS.
//!
//! ```text
//! Publisher::publish(plane, plan, endpoints)
//!     └─newest version─> connection ──HTTP/2 response body──> data plane
//!                            └──<─request body: Hello, Report ──┘
//! Publisher::reports() <─────┘
//! ```
//!
//! A data plane keeps one stream open. Its certificate names a plane (`shared`, or a Gateway), and it
//! receives only the plan of that plane. One version at a time is in flight. If further versions are
//! published meanwhile, only the newest one is sent. A slow data plane therefore does not delay others and
//! needs no queue.
//!
//! [`towergate_k8s::wire`] defines the messages.

mod connection;
mod credentials;
mod publisher;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use connection::run;
pub(crate) use credentials::{CaPem, CertificateAuthority, Credentials, CredentialsError};
pub(crate) use publisher::{DataPlaneReport, PlaneReport, Publisher, Reports};
pub(crate) use tls::Tls;
