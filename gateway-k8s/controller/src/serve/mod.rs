//! Plans for data planes, over mutual TLS.
//!
//! ```text
//! Publisher::publish(plane, plan, endpoints)
//!     └─newest version─> connection ──HTTP/2 response body──> data plane
//!                            └──<─request body: Hello, Report ──┘
//! Publisher::reports() <─────┘
//! ```
//!
//! A data plane opens one stream and keeps it. Its certificate names its plane, and it gets that plan and
//! no other. One version at a time is under way to it: what was published meanwhile is skipped but for
//! the newest, so a slow data plane holds up nobody and costs no memory.
//!
//! The messages are those of [`towergate_k8s::wire`].

mod connection;
mod credentials;
mod publisher;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use connection::run;
pub(crate) use credentials::{Authority, AuthorityPem, Credentials, CredentialsError};
pub(crate) use publisher::{DataPlaneReport, PlaneReport, Publisher, Reports};
pub(crate) use tls::Tls;
