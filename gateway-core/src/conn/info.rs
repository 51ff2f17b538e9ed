//! Properties of a client connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use towergate_tls::acceptor::Negotiated;

use super::ConnectionAddrs;
use super::fingerprint::TlsFingerprints;
use super::requests::ConnectionRequests;

/// Properties of a client connection that apply to all its requests.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// ID, unique in the process.
    pub(crate) id: u64,
    /// Remote address of the TCP connection.
    pub tcp_peer: SocketAddr,
    /// Source address of the PROXY header. Without a header, equal to `tcp_peer`. IPv4-mapped IPv6 addresses
    /// are converted to IPv4.
    pub peer: SocketAddr,
    /// Destination address of the PROXY header. Without a header, the local address of the TCP connection.
    pub local: SocketAddr,
    /// Index of the port in snapshots: see [`PortConfig::slot`](crate::listen::PortConfig::slot).
    pub slot: usize,
    /// Port number in the plan.
    pub port: u16,
    /// Result of the TLS handshake. `None` on a port without TLS.
    pub tls: Option<Negotiated>,
    /// Fingerprints of the ClientHello. `None`: the listener configures no fingerprint.
    pub fingerprints: Option<Arc<TlsFingerprints>>,
    /// Cached header value of a client address, usually the address of the peer. It is cached because most
    /// requests of a connection have the same client address.
    pub(crate) client_header: OnceLock<(IpAddr, HeaderValue)>,
    /// Requests in flight by rule. Empty until a request shares the connection with other requests (HTTP/2).
    requests: OnceLock<Arc<ConnectionRequests>>,
}

impl ConnInfo {
    /// Creates the properties of a connection with `addrs` that was accepted on `port`, which has the index
    /// `slot` in snapshots.
    pub fn new(addrs: ConnectionAddrs, slot: usize, port: u16, tls: Option<Negotiated>) -> Self {
        let ConnectionAddrs {
            tcp_peer,
            peer,
            local,
        } = addrs;
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            tcp_peer,
            peer,
            local,
            slot,
            port,
            tls,
            fingerprints: None,
            client_header: OnceLock::new(),
            requests: OnceLock::new(),
        }
    }

    /// The requests of this connection that are in flight.
    pub(crate) fn requests(&self) -> &Arc<ConnectionRequests> {
        self.requests.get_or_init(Arc::default)
    }

    /// Protocol negotiated by ALPN.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn.as_deref())
    }
}
