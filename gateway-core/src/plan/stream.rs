//! Routes of connections and datagrams: TLSRoute, TCPRoute, UDPRoute.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use towergate_tls::NamePattern;

use super::{ListenerId, RouteId, Traffic, WeightedBackend};

/// A route that looks at nothing beyond the server name of TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRoute {
    /// Its name.
    pub id: Arc<RouteId>,
    /// The name of its rule, if it has one.
    pub rule: Option<String>,
    /// Server names of a TLSRoute that the listener takes too; any, for other kinds. Never empty.
    pub hostnames: Vec<NamePattern>,
    /// Time to connect, limits, balancing. What it says of requests means nothing here.
    pub traffic: Arc<Traffic>,
    /// Where connections go, without filters. Empty: they are closed at once.
    pub backends: Vec<WeightedBackend>,
}

/// A UDP socket and what becomes of its datagrams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatagramPort {
    /// The addresses to bind.
    pub addresses: Vec<IpAddr>,
    /// The port to bind. May differ from what the Gateway says.
    pub port: u16,
    /// Its listener.
    pub id: ListenerId,
    /// A client's session ends after so long without a datagram. Envoy: 60 s.
    pub idle_timeout: Duration,
    /// Attached routes, oldest first. The first one has all datagrams; without any they are dropped.
    pub routes: Vec<Arc<StreamRoute>>,
}
