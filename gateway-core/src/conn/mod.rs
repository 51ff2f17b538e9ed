//! Connections: from the socket to the bytes of a known listener.
//!
//! ```text
//! Listeners ──sockets──> Workers: one thread each ──accept──> accept::serve ──> serve::serve_connection
//!  reconcile              own runtime                PROXY header, TLS, limits      HTTP
//! ```
//!
//! Each worker has a socket of its own for each address (`SO_REUSEPORT`), so a connection lives and
//! dies on its worker. Without workers, [`listener::serve_listener`] serves on any tokio runtime.
//! The configuration of a port is read once per accepted connection; its change needs no new socket.

mod accept;
mod client_hello;
pub mod drain;
pub mod listener;
pub mod listeners;
mod open;
pub(crate) mod opening;
pub mod prefixed;
pub mod proxy;
pub(crate) mod socket;
mod tls;
pub mod workers;

pub use drain::Drain;
pub use listener::{Server, serve_listener};
pub use listeners::{BindError, Listeners};
pub use open::Open;
pub(crate) use open::{sleep_until, warn_unexpected_proxy};
pub use towergate_tls::acceptor::Negotiated;
pub use workers::Workers;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use towergate_tls::NameMap;

use self::proxy::Ends;
use crate::http::settings::ListenerSettings;
use crate::plan::{ListenerId, TcpSettings};
use crate::stream::StreamTable;

/// What is known of a client's connection.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// The other end of the TCP connection.
    pub tcp_peer: SocketAddr,
    /// The source that a PROXY header gave, else `tcp_peer`. IPv4-mapped addresses are IPv4 here.
    pub peer: SocketAddr,
    /// The destination that a PROXY header gave, else this end of the TCP connection.
    pub local: SocketAddr,
    /// The place of its port in snapshots: see [`PortConfig::slot`].
    pub slot: usize,
    /// The port of the plan on which it was accepted.
    pub port: u16,
    /// What the TLS handshake gave; `None` on a plain port.
    pub tls: Option<Negotiated>,
    /// An address that backends are told of, most often the peer's: the same for all requests, so it is
    /// written once.
    pub(crate) told: OnceLock<(IpAddr, HeaderValue)>,
}

impl ConnInfo {
    /// A connection with these ends, on the `slot` of a port of the plan.
    pub fn new(ends: Ends, slot: usize, port: u16, tls: Option<Negotiated>) -> Self {
        let Ends {
            tcp_peer,
            peer,
            local,
        } = ends;
        Self {
            tcp_peer,
            peer,
            local,
            slot,
            port,
            tls,
            told: OnceLock::new(),
        }
    }

    /// The protocol that the TLS handshake chose.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn.as_deref())
    }
}

/// What a connection needs to know of its port, read once when it is accepted.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// The place of the port in snapshots, which it keeps for its life. Two ports may have the same
    /// number on different addresses.
    pub slot: usize,
    /// The port of the plan.
    pub port: u16,
    /// What happens before a listener is chosen.
    pub tcp: TcpSettings,
    /// Plain or TLS.
    pub transport: Transport,
}

/// Plain or TLS.
#[derive(Clone, Debug)]
pub enum Transport {
    /// HTTP at once. Connection settings are those of the port's first listener, since the listener
    /// is chosen later, by `Host`.
    Plain(Arc<ListenerConfig>),
    /// The listener is chosen by SNI; without SNI, or with an IP address, only the one that takes
    /// every name. No listener: the connection is closed.
    Tls(NameMap<Arc<ListenerConfig>>),
    /// The same, but some listeners leave TLS to the backend: they have no TLS configuration.
    Mixed(NameMap<Arc<ListenerConfig>>),
    /// Bytes at once, all for this listener.
    Tcp(Arc<ListenerConfig>),
}

/// What a connection needs to know of its listener.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Its name.
    pub id: ListenerId,
    /// Its settings.
    pub settings: Arc<ListenerSettings>,
    /// The TLS configuration; `None` on a plain port, and where the backend ends TLS.
    pub tls: Option<Arc<towergate_tls::server::ServerConfig>>,
    /// What verifies certificates of clients; `None`: they are not asked for one.
    pub clients: Option<Arc<towergate_tls::client_auth::ClientVerifier>>,
    /// Counts its connections, across changes of the configuration and workers.
    pub connections: Arc<std::sync::atomic::AtomicU64>,
    /// Where its connections go as bytes; `None`: HTTP is spoken on them.
    pub streams: Option<Arc<StreamTable>>,
}
