//! Routes of TLS and TCP connections and UDP datagrams: TLSRoute, TCPRoute and UDPRoute.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use towergate_tls::NamePattern;

use super::{ListenerId, RouteId, Traffic, WeightedBackend};

/// A TLSRoute, TCPRoute or UDPRoute, attached to one listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRoute {
    /// Kind, namespace and name.
    pub id: Arc<RouteId>,
    /// Name of its rule (`name`), if set.
    pub rule: Option<String>,
    /// Intersection of the server names of a TLSRoute and the listener; any name for other kinds. Never
    /// empty.
    pub hostnames: Vec<NamePattern>,
    /// Connect timeout, limits and load balancing. The settings of requests are ignored.
    pub traffic: Arc<Traffic>,
    /// Backends with their weights, without filters. If there are none, connections are closed at once.
    pub backends: Vec<WeightedBackend>,
}

/// A UDP socket with the routes of its datagrams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatagramPort {
    /// Addresses to bind.
    pub addresses: Vec<IpAddr>,
    /// Port to bind. Differs from the port in the Gateway if the port is mapped.
    pub port: u16,
    /// Name of the listener.
    pub id: ListenerId,
    /// Idle timeout of a client session. Envoy default: 60 s.
    pub idle_timeout: Duration,
    /// Attached UDPRoutes, oldest first. The first route receives all datagrams; without a route, datagrams
    /// are dropped.
    pub routes: Vec<Arc<StreamRoute>>,
}
