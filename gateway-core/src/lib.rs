//! The data plane of the Towergate gateway.
//!
//! The life of a request, and where each step is:
//!
//! | step | module |
//! |---|---|
//! | accept, PROXY protocol, TLS | [`listen`], [`conn`], [`proxy_protocol`] |
//! | HTTP codec, timers, limits | [`serve`] |
//! | sanitize, client address, early header edits | [`http`] |
//! | route | [`route`] |
//! | policies | [`policy`] |
//! | filters | [`filter`] |
//! | deadline, retry, breaker | [`traffic`] |
//! | weighted backend, endpoint | [`balance`] |
//! | connection to the endpoint | [`upstream`] |
//!
//! TCP connections are proxied by [`stream`], UDP datagrams by `datagram`.

pub mod access_log;
mod alarm;
pub mod balance;
pub mod body;
pub mod conn;
mod datagram;
pub mod error;
pub mod filter;
pub mod gate;
pub mod gateway;
pub mod http;
mod in_box;
pub mod listen;
mod local_reply;
pub mod observer;
mod one_piece;
pub mod plan;
pub mod policy;
pub mod proxy_protocol;
pub mod route;
pub mod router;
pub mod serve;
pub mod snapshot;
pub mod stream;
pub mod text;
pub mod traffic;
pub mod upstream;

pub use body::Body;
pub use error::Error;
pub use gateway::Gateway;
pub use local_reply::{HeaderList, LocalReply};
pub use plan::Plan;
