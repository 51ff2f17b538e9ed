//! Configuration of a port, as accepted connections read it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use towergate_tls::NameMap;
use towergate_tls::client_auth::ClientVerifier;
use towergate_tls::server::ServerConfig;

use crate::http::settings::ListenerSettings;
use crate::plan::{ListenerId, TcpSettings};
use crate::stream::StreamTable;

/// Configuration of a port. A connection reads it once, when it is accepted.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Index of the port in snapshots, constant for the life of the port. Two ports on different
    /// addresses may have the same number.
    pub slot: usize,
    /// Port number in the plan.
    pub port: u16,
    /// Settings that apply before a listener is selected.
    pub tcp: TcpSettings,
    /// Protocol of the port, with the listeners that share it.
    pub protocol: PortProtocol,
}

/// Protocol of a port, with its listeners.
#[derive(Clone, Debug)]
pub enum PortProtocol {
    /// Plain HTTP. The listener of a request is selected by `Host`; connection settings are those of
    /// the port's first listener.
    Plain(Arc<ListenerConfig>),
    /// TLS terminated by the gateway. The listener is selected by SNI. A ClientHello without SNI, or
    /// with an IP address, matches only a listener without a hostname. If no listener matches, the
    /// connection is closed.
    Tls(NameMap<Arc<ListenerConfig>>),
    /// As [`Self::Tls`], with listeners among them that pass TLS through to the backend; those have no
    /// TLS configuration.
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
    /// TLS configuration; `None` on a plain port and for TLS passthrough.
    pub tls: Option<Arc<ServerConfig>>,
    /// Verifier of client certificates; `None`: client certificates are not requested.
    pub clients: Option<Arc<ClientVerifier>>,
    /// Number of open connections, shared by all workers and kept across configuration changes.
    pub connections: Arc<AtomicU64>,
    /// Routes of TCP and TLS connections; `None`: the listener serves HTTP.
    pub streams: Option<Arc<StreamTable>>,
}
