//! Configuration of a port. It is read when a connection is accepted.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use towergate_tls::NameMap;
use towergate_tls::client_auth::ClientVerifier;
use towergate_tls::server::ServerConfig;

use crate::http::settings::ListenerSettings;
use crate::plan::{ListenerId, TcpSettings};
use crate::stream::StreamTable;

/// Configuration of a port. It is read once for each connection, when the connection is accepted.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Index of the port in snapshots. It does not change while the port exists. The port number cannot be
    /// the index, because two ports on different addresses may have the same number.
    pub slot: usize,
    /// Port number in the plan.
    pub port: u16,
    /// Settings that apply before a listener is selected.
    pub tcp: TcpSettings,
    /// Protocol of the port, and the listeners that share the port.
    pub protocol: PortProtocol,
}

/// Protocol of a port, with the listeners of the port.
#[derive(Clone, Debug)]
pub enum PortProtocol {
    /// HTTP without TLS. `Host` selects the listener of a request. The connection settings are those of the
    /// first listener of the port.
    Plain(Arc<ListenerConfig>),
    /// TLS terminated by the gateway. SNI selects the listener. A ClientHello without SNI, or with an IP
    /// address as SNI, matches only a listener without a hostname. If no listener matches, the connection is
    /// closed.
    Tls(NameMap<Arc<ListenerConfig>>),
    /// As [`Self::Tls`], but the ClientHello is read before TLS starts. This is necessary if a listener
    /// passes TLS through to the backend, and therefore has no TLS configuration, or if fingerprints are
    /// computed.
    Mixed(NameMap<Arc<ListenerConfig>>),
    /// Plain TCP.
    Tcp(Arc<ListenerConfig>),
}

/// Configuration of a listener.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Name of the listener.
    pub id: ListenerId,
    /// Connection settings.
    pub settings: Arc<ListenerSettings>,
    /// TLS configuration. `None` on a port without TLS and for TLS passthrough.
    pub tls: Option<Arc<ServerConfig>>,
    /// Verifier of client certificates. `None`: client certificates are not requested.
    pub clients: Option<Arc<ClientVerifier>>,
    /// Number of open connections, shared by all workers and kept across configuration changes.
    pub connections: Arc<AtomicU64>,
    /// Routes of TCP and TLS connections. `None`: the listener serves HTTP.
    pub streams: Option<Arc<StreamTable>>,
}
