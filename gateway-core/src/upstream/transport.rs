//! Settings of connections to a backend. Rules with equal settings share connections.

use std::sync::Arc;
use std::time::Duration;

use towergate_tls::client::ClientTls;

use crate::http::settings::Http2Settings;
use crate::plan::{Backend, BackendConnection, BackendProtocol, Traffic};

/// Settings that must be equal for connections to be shared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Transport {
    /// HTTP version.
    pub protocol: BackendProtocol,
    /// TLS settings; `None`: plain text.
    pub tls: Option<Arc<ClientTls>>,
    /// Timeout for a new connection, including its TLS handshake.
    pub connect_timeout: Duration,
    /// Timeout after which a connection without requests is closed. `None`: no timeout.
    pub idle_timeout: Option<Duration>,
    /// Age after which a connection accepts no more requests.
    pub max_connection_duration: Option<Duration>,
    /// Maximum number of requests per connection.
    pub max_requests_per_connection: Option<u32>,
    /// Socket options, buffer sizes and HTTP/2 settings.
    pub connection: BackendConnection,
}

impl Transport {
    /// The transport to `backend` with these traffic settings.
    pub fn new(backend: &Backend, traffic: &Traffic) -> Self {
        Self::speaking(backend.protocol, backend, traffic)
    }

    /// The transport to `backend` if `protocol` replaces the protocol of the backend.
    pub(crate) fn speaking(
        protocol: BackendProtocol,
        backend: &Backend,
        traffic: &Traffic,
    ) -> Self {
        let mut connection = traffic.connection.clone();
        if protocol == BackendProtocol::Http1 {
            // HTTP/2 settings have no effect on HTTP/1, so they must not prevent connections from being
            // shared.
            connection.http2 = Http2Settings::default();
        }
        Self {
            protocol,
            tls: backend.tls.clone(),
            connect_timeout: traffic.connect_timeout,
            idle_timeout: traffic.idle_timeout,
            max_connection_duration: traffic.max_connection_duration,
            max_requests_per_connection: traffic.max_requests_per_connection,
            connection,
        }
    }
}
