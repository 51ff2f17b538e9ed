//! What to serve, as plain data: every reference resolved, every text parsed, every precedence settled.
//!
//! A [`Plan`] is what `resolve` makes of Kubernetes objects, what golden tests compare, what
//! `towergate check` explains and what a controller sends to a data plane. It holds values only, so it
//! can be compared, printed and sent; what runs is the [`Snapshot`](crate::snapshot::Snapshot) built
//! from it.
//!
//! ```text
//! Plan
//! └─ ports: one socket each (PROXY protocol, inspection time-out, TCP settings)
//!    └─ listeners: by hostname (TLS, client address, sanitizing, limits)
//!       ├─ routes: attached, oldest first
//!       │  └─ rules: matches, policies, filters, traffic settings, backends
//!       └─ streams: routes of connections (TLS, TCP)
//! └─ datagrams: UDP sockets and their routes
//! ```
//!
//! Addresses of backends are not part of it: see [`Endpoints`].
//!
//! `P` is the type of a route's policies ([`RoutePolicy`](crate::policy::RoutePolicy)).

mod backend;
mod builders;
mod filter;
mod listener;
mod probe;
mod route;

mod stream;
mod structural_sharing;
mod upstream;

pub use crate::http::settings::{
    ConnectionLimits, EscapedSlashes, HeaderSettings, Http1Settings, Http2Settings, Http10,
    ListenerSettings, PathSettings, RequestIdMode, Timeouts, Underscores, XfccDetails, XfccMode,
};
pub use crate::proxy_protocol::ProxyProtocol;
pub use crate::route::matches::{GrpcMethodMatch, Match, NameMatch, PathMatch};
pub use crate::text::{Text, TextMatch};
pub use backend::{
    Backend, BackendId, BackendProtocol, Destination, Endpoint, Endpoints, WeightedBackend,
};
pub use filter::{Filter, Fraction, Mirror};
pub use listener::{Keepalive, Listener, ListenerId, Port, Protocol, TcpSettings};
pub use probe::{ActiveCheck, HttpProbe, Probe};
pub use route::{
    Breaker, CookieHash, HashKey, LoadBalancer, Retry, RetryOn, Route, RouteId, RouteKind, Rule,
    Traffic,
};
pub use stream::{DatagramPort, StreamRoute};
pub use upstream::{BackendConnection, OutlierDetection, RetryBudget, StreamIdle};

use serde::{Deserialize, Serialize};

use crate::policy::NoPolicy;

/// Everything that a data plane serves, except the addresses of backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan<P = NoPolicy> {
    /// The TCP sockets to listen on.
    pub ports: Vec<Port<P>>,
    /// The UDP sockets to listen on.
    pub datagrams: Vec<DatagramPort>,
}

impl<P> Default for Plan<P> {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            datagrams: Vec::new(),
        }
    }
}
