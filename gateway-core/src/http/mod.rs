//! What HTTP demands of an intermediary, and what Envoy does beyond: pure functions over a request's
//! head, each with a thin Layer around it.

pub mod client_ip;
pub mod forwarded;
pub mod hop_by_hop;
pub mod path;
pub mod sanitize;
