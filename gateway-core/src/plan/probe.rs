//! Active health checks of endpoints.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::Text;

/// Active health check of a backend's endpoints. The first result of an endpoint takes effect at once.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ActiveCheck {
    /// Timeout of a probe. Envoy Gateway default: 1 s.
    pub timeout: Duration,
    /// Interval between probes of an endpoint. Envoy Gateway default: 3 s.
    pub interval: Duration,
    /// Maximum of the random delay before the first probe of an endpoint.
    pub initial_jitter: Duration,
    /// Number of consecutive failures after which an endpoint is unhealthy. Envoy Gateway default: 3.
    pub unhealthy: u32,
    /// Number of consecutive successes after which an endpoint is healthy. Envoy Gateway default: 1.
    pub healthy: u32,
    /// Port to probe; `None`: the port of the endpoint.
    pub port: Option<u16>,
    /// Protocol and expected response.
    pub probe: Probe,
}

/// Protocol and expected response of a probe.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Probe {
    /// An HTTP request in the protocol of the backend.
    Http(HttpProbe),
    /// A TCP connection, with an optional exchange of bytes.
    Tcp {
        /// Bytes to send. Empty: no bytes are sent.
        send: Vec<u8>,
        /// Bytes that the endpoint must send. Empty: an established connection suffices.
        receive: Vec<u8>,
    },
    /// A call of `grpc.health.v1.Health/Check` for this service. Empty: the call is for the whole server.
    Grpc(String),
}

/// The HTTP request of a probe and its expected response.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Value of `Host` or `:authority`; `None`: the address of the endpoint.
    pub host: Option<String>,
    /// Request path.
    pub path: String,
    /// Request method.
    pub method: Text<Method>,
    /// Statuses of a healthy endpoint. Any other status makes the endpoint unhealthy at once, unless it is in
    /// `retriable`.
    pub expected: Vec<u16>,
    /// Statuses of a failed probe that does not make the endpoint unhealthy at once.
    /// [`ActiveCheck::unhealthy`] consecutive failures make it unhealthy.
    pub retriable: Vec<u16>,
    /// Bytes that the response body must contain. Empty: any body is accepted.
    pub wanted: Vec<u8>,
    /// Request body.
    pub body: Vec<u8>,
}
