//! How a rule's requests travel: weighted backend, deadline, attempts, breaker.
//!
//! A [`Forwarder`] is built once for each rule of a snapshot. A request passes two steps, so that the
//! filters of the backendRef that was drawn can run in between:
//!
//! ```text
//! Forwarder::pick ──> Picked::filters ──> Picked::forward ──> Forwarded
//!   by weight           by the caller       attempts: balance ──> upstream
//! ```

pub mod breaker;

mod attempt;
mod deadline;
mod forward;
mod replay;
mod retry;
#[cfg(test)]
mod tests;

pub use forward::{Failure, ForwardContext, Forwarded, Forwarder, Picked, Tunnel};

pub(crate) use replay::ReplayBody;
