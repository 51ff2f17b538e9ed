//! Facts about a client connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use towergate_tls::acceptor::Negotiated;

use super::ConnectionAddrs;
use super::requests::ConnectionRequests;

/// Facts about a client connection that hold for all its requests.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// Remote address of the TCP connection.
    pub tcp_peer: SocketAddr,
    /// Source address of the PROXY header; without one, `tcp_peer`. IPv4-mapped addresses are
    /// converted to IPv4.
    pub peer: SocketAddr,
    /// Destination address of the PROXY header; without one, the local address of the TCP connection.
    pub local: SocketAddr,
    /// Index of the port in snapshots: see [`PortConfig::slot`](crate::listen::PortConfig::slot).
    pub slot: usize,
    /// Port number in the plan.
    pub port: u16,
    /// Result of the TLS handshake; `None` on a plain port.
    pub tls: Option<Negotiated>,
    /// Cached header value of the client address, in most cases the peer's. All requests of the
    /// connection send the same value to backends.
    pub(crate) client_header: OnceLock<(IpAddr, HeaderValue)>,
    /// Requests in flight by rule, once a request shares the connection with others (HTTP/2).
    requests: OnceLock<Arc<ConnectionRequests>>,
}

impl ConnInfo {
    /// Facts about a connection with `addrs`, accepted on `port`, which has index `slot` in snapshots.
    pub fn new(addrs: ConnectionAddrs, slot: usize, port: u16, tls: Option<Negotiated>) -> Self {
        let ConnectionAddrs {
            tcp_peer,
            peer,
            local,
        } = addrs;
        Self {
            tcp_peer,
            peer,
            local,
            slot,
            port,
            tls,
            client_header: OnceLock::new(),
            requests: OnceLock::new(),
        }
    }

    /// The requests of this connection in flight.
    pub(crate) fn requests(&self) -> &Arc<ConnectionRequests> {
        self.requests.get_or_init(Arc::default)
    }

    /// Protocol negotiated by ALPN.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn.as_deref())
    }
}
