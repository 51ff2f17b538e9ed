//! The data plane's configuration at one point in time.
//!
//! A [`Snapshot`] is built from a [`Plan`](crate::Plan) and is immutable. A request loads the current
//! snapshot when it is routed and uses it until the response ends, so two versions are never mixed.
//!
//! ```text
//! Objects --resolve--> Plan --build--> Snapshot --publish--> SnapshotHandle --current--> router
//! ```
//!
//! State that must be kept across configuration changes (connection pools, breakers, rate limit counters) is
//! stored in [`Live`]. The parameters of an instance are its key, so equal parameters share the same
//! instance.

mod build;
mod build_cache;
mod handle;
mod policy_faults;
mod ports;

pub use build::BuildError;
pub(crate) use build::Builder;
pub(crate) use build_cache::BuildCache;
pub use handle::{Current, SnapshotHandle};
pub use policy_faults::{PolicyFault, PolicyFaults};

use std::sync::Arc;

use http::StatusCode;
use towergate_tls::NameMap;
use towergate_tls::server::ResumptionState;

use crate::access_log::RuleName;
use crate::filter::{DirectResponse, HeaderEdits, Redirect, RegexRewrite, Rewrite};
use crate::http::settings::ListenerSettings;
use crate::plan::{ListenerId, Traffic};
use crate::policy::chain::PolicyChain;
use crate::policy::{PolicyError, Stage};
use crate::route::RouteTable;
use crate::traffic::Forwarder;
use crate::traffic::mirror::Mirrors;
use policy_faults::GuardedRule;

pub use crate::live::Live;

/// The whole configuration of the data plane, built from one plan.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Ports, indexed by slot. A socket keeps its slot while it is open.
    pub(crate) ports: Vec<Option<PortSnapshot>>,
    /// Rules with policies, for [`PolicyFaults`].
    pub(crate) guarded: Box<[GuardedRule]>,
}

/// The listeners of one socket.
#[derive(Debug)]
pub(crate) struct PortSnapshot {
    /// Port number in the plan.
    pub(crate) port: u16,
    /// Listeners, in the order of the plan.
    pub(crate) listeners: Vec<ListenerSnapshot>,
    /// Hostnames of `listeners`, with their indices.
    pub(crate) by_host: NameMap<usize>,
    /// TLS sessions that clients may resume. They are kept alive, so that the next snapshot can use them.
    pub(crate) _sessions: Vec<Arc<ResumptionState>>,
}

/// A listener with its routes.
#[derive(Debug)]
pub(crate) struct ListenerSnapshot {
    pub(crate) id: Arc<ListenerId>,
    /// Port number in the Gateway.
    pub(crate) port: u16,
    pub(crate) settings: Arc<ListenerSettings>,
    /// Whether the policy of the listener is invalid. If so, every route returns 500.
    pub(crate) failed: bool,
    /// Whether gRPC-Web is translated to gRPC.
    pub(crate) grpc_web: bool,
    pub(crate) table: RouteTable<RuleTarget>,
}

/// Result of a route match.
#[derive(Clone, Debug)]
pub(crate) struct RuleTarget {
    pub(crate) rule: Arc<RuleSnapshot>,
    /// Name for logs and metrics. It is shared, so that cloning only increments a reference count.
    pub(crate) name: Arc<RuleName>,
}

/// A built rule. Its parts are in the order of the request path.
///
/// There may be thousands of rules, and every request reads one. To use little memory, equal parts of rules
/// are shared.
#[derive(Debug)]
pub(crate) struct RuleSnapshot {
    pub(crate) steps: Arc<Steps>,
    /// Settings of requests to backends.
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) forwarder: Forwarder,
}

/// Steps of a request in addition to forwarding. Most rules have no steps, and share one empty instance.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// Status of the rule's responses if the rule is invalid. Policies may replace these responses.
    pub(crate) respond: Option<StatusCode>,
    pub(crate) policies: PolicyChain,
    /// The policy that could not be built and its error, if this is the reason for `respond`.
    pub(crate) unbuilt: Option<Box<(Stage, PolicyError)>>,
    pub(crate) redirect: Option<Box<Redirect>>,
    pub(crate) request_edits: Box<[HeaderEdits]>,
    pub(crate) rewrite: Option<Box<Rewrite>>,
    pub(crate) regex_rewrite: Option<Box<RegexRewrite>>,
    pub(crate) direct: Option<Box<DirectResponse>>,
    pub(crate) mirrors: Mirrors,
    pub(crate) response_edits: Box<[HeaderEdits]>,
}
