//! How endpoints are asked whether they are well.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::Text;

/// Probes of a backend's endpoints (Envoy: active health checking).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ActiveCheck {
    /// How long one probe may take. Envoy Gateway: 1 s.
    pub timeout: Duration,
    /// Time between two probes of an endpoint. Envoy Gateway: 3 s.
    pub interval: Duration,
    /// Up to so long passes before the first.
    pub initial_jitter: Duration,
    /// Failures in a row after which an endpoint gets no requests. Envoy Gateway: 3.
    pub unhealthy: u32,
    /// Successes in a row after which it gets them again. Envoy Gateway: 1.
    pub healthy: u32,
    /// Another port than that of requests.
    pub port: Option<u16>,
    /// What is spoken.
    pub probe: Probe,
}

/// What a probe speaks, and what it wants to hear.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Probe {
    /// A request in the protocol of the backend.
    Http(HttpProbe),
    /// A connection, and bytes if both sides are to say something.
    Tcp {
        /// What is sent.
        send: Vec<u8>,
        /// What must come; empty: the connection is enough.
        receive: Vec<u8>,
    },
    /// `grpc.health.v1.Health/Check` of this service; the empty one is the whole server.
    Grpc(String),
}

/// A request that asks an endpoint how it is.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// `Host`; `None`: the endpoint's address.
    pub host: Option<String>,
    /// The path.
    pub path: String,
    /// The method.
    pub method: Text<Method>,
    /// Statuses of a success; any other fails at once.
    pub expected: Vec<u16>,
    /// Statuses of a failure that only counts.
    pub retriable: Vec<u16>,
    /// What must be in the body.
    pub wanted: Vec<u8>,
    /// The body that is sent.
    pub body: Vec<u8>,
}
