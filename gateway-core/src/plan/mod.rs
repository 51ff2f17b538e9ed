//! The configuration of a data plane as plain data. All references are resolved, all values are parsed, and
//! all rules are sorted.
//!
//! `resolve` builds a [`Plan`] from Kubernetes objects, and a controller sends the plan to its data planes. A
//! plan contains values only: it can be compared, printed and serialized. A data plane builds a
//! [`Snapshot`](crate::snapshot::Snapshot) from the plan, and serves traffic with this snapshot.
//!
//! ```text
//! Plan
//! └─ ports: TCP sockets (PROXY protocol, inspection timeout, TCP settings)
//!    └─ listeners: by hostname (TLS, client address, sanitizing, limits)
//!       ├─ routes: HTTPRoute and GRPCRoute, oldest first
//!       │  └─ rules: matches, policies, filters, traffic settings, backends
//!       └─ streams: TLSRoute and TCPRoute
//! └─ datagrams: UDP sockets and their UDPRoutes
//! ```
//!
//! The plan does not contain the addresses of backends; see [`Endpoints`].
//!
//! `P` is the type of a route's policies ([`RoutePolicy`](crate::policy::RoutePolicy)).

mod backend;
mod builders;
mod dns;
mod dynamic;
mod endpoint_address;
mod filter;
mod listener;
mod probe;
mod route;

mod stream;
mod structural_sharing;
mod upstream;
mod zones;

pub use crate::http::settings::{
    ConnectionLimits, EscapedSlashes, FingerprintSettings, HeaderSettings, Http1Settings,
    Http2Settings, Http10, ListenerSettings, PathSettings, RequestIdMode, Timeouts, Underscores,
    XfccDetails, XfccMode,
};
pub use crate::proxy_protocol::ProxyProtocol;
pub use crate::route::matches::{GrpcMethodMatch, Match, NameMatch, PathMatch};
pub use crate::text::{Source, Text, TextMatch};
pub use backend::{
    Backend, BackendId, BackendKind, BackendProtocol, Destination, DnsHost, Endpoint, Endpoints,
    WeightedBackend,
};
pub use dns::{DnsFamily, DnsSettings};
pub use dynamic::DynamicTargets;
pub use endpoint_address::EndpointAddress;
pub use filter::{Filter, Fraction, Mirror};
pub use listener::{Keepalive, Listener, ListenerId, Port, Protocol, TcpSettings};
pub use probe::{ActiveCheck, HttpProbe, Probe};
pub use route::{
    Breaker, ConnectMode, CookieHash, HashKey, LoadBalancer, Retry, RetryOn, Route, RouteId,
    RouteKind, Rule, STAT_NAME_OPERATORS, Traffic, UtilizationBalancing,
};
pub use stream::{DatagramPort, StreamAccess, StreamAccessRule, StreamRoute};
pub use upstream::{
    BackendConnection, OutlierDetection, ProxyHeaderVersion, RetryBudget, StreamIdle,
};
pub use zones::{LocalZone, ZoneBalancing};

use serde::{Deserialize, Serialize};

use crate::policy::NoPolicy;

/// Configuration of a data plane. It does not contain the addresses of backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan<P = NoPolicy> {
    /// TCP sockets.
    pub ports: Vec<Port<P>>,
    /// UDP sockets.
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
