//! How a rule's requests travel: weighted backend, deadline, attempts, breaker.
//!
//! A [`Forwarder`] is built once for each rule of a snapshot. A request passes two steps, so that the
//! filters of the backendRef that was drawn can run in between:
//!
//! ```text
//! Forwarder::pick ──> Picked::filters ──> Picked::forward ──> Forwarded
//!   by weight           by the caller       attempts: balance ──> upstream
//! ```
//!
//! ```
//! use std::sync::Arc;
//!
//! use towergate_core::Body;
//! use towergate_core::error::Error;
//! use towergate_core::observer::Observer;
//! use towergate_core::plan::{Destination, Traffic, WeightedBackend};
//! use towergate_core::snapshot::Live;
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
//!     client: "192.0.2.1".parse().unwrap(),
//!     observer: &observer,
//!     envoy_headers: false,
//!     preserve_header_case: false,
//!     upgrade: None,
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

pub mod breaker;
pub mod mirror;

mod attempt;
mod backends;
mod connection;
mod deadline;
mod forward;
mod internal_client;
mod outlier;
mod prober;
mod replay;
mod retry;
mod service;
#[cfg(test)]
mod tests;

pub use backends::Backends;
pub use forward::{Failure, ForwardContext, Forwarded, Forwarder, Picked, Tunnel};
pub use internal_client::{CallError, CollectedBody, InternalClient};
pub use service::ForwardService;

pub(crate) use connection::{Chosen, Joined, NotJoined, Reserved};
pub(crate) use replay::ReplayBody;
