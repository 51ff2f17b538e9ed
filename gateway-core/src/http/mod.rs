//! HTTP requirements on an intermediary (RFC 9110, RFC 9112), and Envoy's additions to them.
//!
//! Each concern is a pure function over the head of a message. For some of these functions, there is also a
//! thin Layer.

pub mod client_ip;
#[cfg(feature = "gateway")]
pub mod forwarded;
pub(crate) mod framing;
pub(crate) mod grpc;
pub(crate) mod header_presence;
pub mod hop_by_hop;
pub mod host;
mod layer;
pub(crate) mod lenient;
pub mod path;
pub mod query;
pub mod reserved;
pub mod sanitize;
pub mod settings;
pub mod trailers;
pub mod upgrade;

pub use host::Authority;
pub use layer::{SanitizeLayer, SanitizeService};
pub use sanitize::Sanitized;
pub use upgrade::Upgrade;
