//! The objects as users write them: own serde types, field by field as in Gateway API v1.6.1.
//!
//! Types are lenient where admission would be: what a schema would refuse is refused by `resolve` or the
//! decoder, with a place, not by a panic later.

pub mod core;
pub mod gateway;
pub mod grpc_route;
pub mod http_route;
pub mod meta;
pub mod policy;
pub mod reference_grant;
