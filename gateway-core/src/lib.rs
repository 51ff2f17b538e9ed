//! The data plane of the Towergate gateway. Its parts are also available as tower Layers.
//!
//! Each step of the request path is a module. Most steps can also be used as Layers in any axum, hyper or
//! tonic service:
//!
//! | step | module | Layers |
//! |---|---|---|
//! | accept, PROXY protocol, TLS | `listen`, [`conn`], [`proxy_protocol`] | [`ConnectionAddrsLayer`](conn::ConnectionAddrsLayer) |
//! | HTTP codec, timers, limits | `serve` | |
//! | sanitize, client address, early header edits | [`http`] | [`SanitizeLayer`](http::SanitizeLayer), [`ClientIpLayer`](http::client_ip::ClientIpLayer) |
//! | route | [`route`] | |
//! | policies | [`policy`] | [`HeadPolicyLayer`](policy::HeadPolicyLayer) |
//! | filters | [`filter`] | [`CorsLayer`](filter::CorsLayer), [`RedirectLayer`](filter::RedirectLayer) |
//! | deadline, retry, breaker | `traffic` | |
//! | weighted backend, endpoint | `balance` | |
//! | connection to the endpoint | `upstream` | |
//! | all of these | `gateway` | `GatewayLayer` |
//!
//! TCP and TLS connections are proxied by `stream`, UDP datagrams by `datagram`.
//!
//! The modules `balance`, `listen`, `router`, `serve`, `snapshot`, `stream`, `traffic` and `upstream` are
//! internal. They are public only for benchmarks and tests, and change without notice. If one of their types
//! is part of the public API, the module `gateway` re-exports it.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `gateway` | yes | plans, serving, balancing, connections to backends, TLS: all modules without a link in the table above |
//! | `aws-lc-rs` | yes | `Options::default()` with aws-lc-rs as crypto provider; implies `gateway` |
//!
//! Without `gateway`, the crate contains only the Layers and parsers. It then has at most 40 dependencies,
//! none of which is a TLS crate or requires a C compiler. Without `aws-lc-rs`, `Options::new` accepts any
//! `rustls::crypto::CryptoProvider`.
//!
//! # Example
//!
//! A redirect of requests below `/old`, in front of any service:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::{ServiceExt, service_fn};
//! use towergate_core::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let moved = Redirect {
//!     scheme: Some(WebScheme::Https),
//!     hostname: None,
//!     port: None,
//!     path: Some(PathEdit::Prefix("/archive".to_owned())),
//!     status: RedirectStatus::PermanentRedirect,
//! };
//! let service = service_fn(|_: Request<()>| async {
//!     Ok::<_, std::io::Error>(Response::new(Bytes::from("hello")))
//! });
//! let service = RedirectLayer::new(moved).below("/old").layer(service);
//! let service = SanitizeLayer::default().layer(service);
//!
//! let request = Request::get("/old/page").header("host", "example.org").body(())?;
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.status(), 308);
//! assert_eq!(response.headers()["location"], "https://example.org/archive/page");
//! # Ok(())
//! # }
//! ```

// Without the feature `gateway`, some parts of the sanitizer are unused.
#![cfg_attr(not(feature = "gateway"), allow(dead_code))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "gateway")]
pub mod access_log;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod balance;
pub mod body;
#[cfg(feature = "gateway")]
mod breaker;
#[cfg(feature = "gateway")]
mod client_abort;
#[cfg(feature = "gateway")]
mod coalesced_write;
pub mod conn;
#[cfg(feature = "gateway")]
mod datagram;
#[cfg(feature = "gateway")]
pub mod dns;
#[cfg(feature = "gateway")]
pub mod error;
pub mod filter;
pub mod format;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod grpc_web;
pub mod http;
#[cfg(feature = "gateway")]
mod keepalive;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod listen;
#[cfg(feature = "gateway")]
mod live;
mod local_reply;
#[cfg(feature = "gateway")]
pub mod observer;
#[cfg(feature = "gateway")]
mod pin_boxed;
#[cfg(feature = "gateway")]
pub mod plan;
pub mod policy;
pub mod prelude;
pub mod prometheus;
pub mod proxy_protocol;
mod re2;
#[cfg(feature = "gateway")]
mod reset_reason;
#[cfg(feature = "gateway")]
mod reusable_timer;
pub mod route;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod router;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod serve;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod snapshot;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod stream;
pub mod text;
#[cfg(feature = "gateway")]
mod time_limits;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod traffic;
mod trailers_body;
mod unicast;
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub mod upstream;

pub use body::{Body, BoxError};
#[cfg(feature = "gateway")]
pub use error::Error;
#[cfg(feature = "gateway")]
pub use gateway::Gateway;
pub use local_reply::{HeaderList, LocalReply};
#[cfg(feature = "gateway")]
pub use plan::Plan;
