//! What the data plane reads: one unchanging picture of the whole configuration.
//!
//! A [`Snapshot`] is built from a [`Plan`](crate::Plan) and never altered. A request takes the current
//! one when it is routed and keeps it to its end, so no request sees two versions.
//!
//! ```text
//! Objects --resolve--> Plan --build--> Snapshot --publish--> SnapshotHandle --current--> router
//! ```
//!
//! What must survive a change (pools, breakers, rate-limit counters) is not part of the picture. It is in
//! [`Live`], found by its parameters: equal parameters, same instance.

mod build;
mod built;
mod handle;
mod ports;

pub use build::BuildError;
pub(crate) use build::Builder;
pub(crate) use built::Parts;
pub use handle::{Current, SnapshotHandle};

use std::sync::Arc;

use http::StatusCode;
use towergate_tls::NameMap;
use towergate_tls::server::ResumptionState;

use crate::access_log::RuleName;
use crate::filter::{HeaderEdits, Redirect, Rewrite};
use crate::http::settings::ListenerSettings;
use crate::plan::{ListenerId, Traffic};
use crate::policy::chain::PolicyChain;
use crate::route::RouteTable;
use crate::traffic::Forwarder;
use crate::traffic::mirror::Mirrors;

pub use crate::live::Live;

/// The whole configuration as it runs.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By the slot of the port: a number that a socket keeps for its life.
    pub(crate) ports: Vec<Option<PortSnapshot>>,
}

/// The listeners of one socket.
#[derive(Debug)]
pub(crate) struct PortSnapshot {
    /// The port of the plan.
    pub(crate) port: u16,
    /// In the order of the plan.
    pub(crate) listeners: Vec<ListenerSnapshot>,
    /// Indices of `listeners` by hostname.
    pub(crate) by_host: NameMap<usize>,
    /// What clients may resume, for the next snapshot to find.
    pub(crate) _sessions: Vec<Arc<ResumptionState>>,
}

/// A listener with its routes.
#[derive(Debug)]
pub(crate) struct ListenerSnapshot {
    pub(crate) id: Arc<ListenerId>,
    /// The port that the Gateway names.
    pub(crate) port: u16,
    pub(crate) settings: Arc<ListenerSettings>,
    /// Every route answers 500: the listener's policy is invalid.
    pub(crate) failed: bool,
    pub(crate) table: RouteTable<Target>,
}

/// What a match leads to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) rule: Arc<RuleSnapshot>,
    /// For logs and metrics. Each request counts its reference, so it is one.
    pub(crate) name: Arc<RuleName>,
}

/// A rule, ready to run: its parts in the order in which a request meets them.
///
/// Each request looks at all of it, and of thousands of rules each has its own. So here is only what
/// differs from rule to rule; the rest is shared by those that have it in common.
#[derive(Debug)]
pub(crate) struct RuleSnapshot {
    pub(crate) steps: Arc<Steps>,
    /// How requests travel.
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) forwarder: Forwarder,
}

/// What is done with a request besides forwarding it. Most rules have no steps, and share one instance.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// Status of every response that policies do not replace: the rule is invalid.
    pub(crate) respond: Option<StatusCode>,
    pub(crate) policies: PolicyChain,
    pub(crate) redirect: Option<Box<Redirect>>,
    pub(crate) request_edits: Box<[HeaderEdits]>,
    pub(crate) rewrite: Option<Box<Rewrite>>,
    pub(crate) mirrors: Mirrors,
    pub(crate) response_edits: Box<[HeaderEdits]>,
}
