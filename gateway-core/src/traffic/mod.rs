//! Forwarding of a rule's requests: weighted backend, timeouts, retries, circuit breaker.
//!
//! A [`Forwarder`] is built once for each rule of a snapshot. A request takes two steps, between which the
//! filters of the picked backendRef are applied:
//!
//! ```text
//! Forwarder::pick ──> SelectedBackend::filters ──> SelectedBackend::forward ──> Forwarded
//!   by weight           applied by the caller        attempts: balance ──> upstream
//! ```
//!
//! ```
//! use std::sync::Arc;
//!
//! use towergate_core::Body;
//! use towergate_core::error::Error;
//! use towergate_core::observer::Observer;
//! use towergate_core::plan::{Destination, Traffic, WeightedBackend};
//! use towergate_core::policy::Live;
//! use towergate_core::traffic::{ForwardContext, Forwarder};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let backends = [WeightedBackend {
//!     weight: 1,
//!     filters: Vec::new(),
//!     destination: Destination::Invalid,
//! }];
//! let provider = towergate_tls::default_provider();
//! let traffic = Arc::new(Traffic::default());
//! let forwarder = Forwarder::new("a rule", traffic, &backends, &Live::default(), &provider);
//! let observer: Arc<dyn Observer> = Arc::new(());
//! let context = ForwardContext {
//!     client: Some("192.0.2.1".parse().unwrap()),
//!     observer: &observer,
//!     envoy_headers: false,
//!     preserve_header_case: false,
//!     upgrade: None,
//!     connection: None,
//! };
//!
//! let failure = forwarder
//!     .forward(&context, http::Request::new(Body::empty()))
//!     .await
//!     .unwrap_err();
//!
//! assert!(matches!(failure.error, Error::InvalidBackend));
//! assert_eq!(failure.error.reply().status, 500);
//! # });
//! ```

pub mod mirror;

mod attempt;
mod attempt_response;
mod backends;
mod connection;
mod deadline;
mod dynamic;
mod endpoint_header;
mod forward;
mod internal_client;
pub(crate) mod loop_guard;
mod outlier;
mod prober;
mod retry;
mod service;
#[cfg(test)]
mod tests;
mod tunnel;

pub use backends::Backends;
pub use forward::{ForwardContext, ForwardError, Forwarded, Forwarder, SelectedBackend};
pub use internal_client::{CallError, CollectedBody, InternalClient};
pub use service::ForwardService;
pub use tunnel::Tunnel;

pub(crate) use connection::{ConnectError, Connected, SelectedEndpoint, SessionPermit};
#[cfg(test)]
pub(crate) use tunnel::TunnelIo;
