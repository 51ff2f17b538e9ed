//! Ports, listeners, and the TCP settings of a ClientTrafficPolicy.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use towergate_tls::{NamePattern, ServerTls};

use super::{Route, StreamRoute};
use crate::http::settings::ListenerSettings;
use crate::policy::NoPolicy;
use crate::proxy_protocol::ProxyProtocol;

/// A TCP socket, which all listeners with the same addresses and port share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port<P = NoPolicy> {
    /// Addresses to bind.
    pub addresses: Vec<IpAddr>,
    /// Port to bind. It differs from `Listener::port` if the port in the Gateway is mapped to another port.
    pub port: u16,
    /// Settings that apply before a listener is selected.
    pub tcp: TcpSettings,
    /// Listeners. The hostname selects the listener, so hostnames are unique. All listeners use the same
    /// transport: HTTP without TLS, TLS (HTTPS and TLS listeners can be mixed), or a single TCP listener.
    pub listeners: Vec<Listener<P>>,
}

/// Settings of a connection that apply before its listener is selected.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct TcpSettings {
    /// PROXY protocol settings; `None`: connections have no PROXY protocol header. Default: `None`.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Timeout for the PROXY protocol header and the ClientHello together. Default: 15 s, as in Envoy
    /// Gateway.
    pub inspection_timeout: Duration,
    /// TCP keep-alive of accepted sockets. Default: `None`.
    pub keepalive: Option<Keepalive>,
    /// Size of the socket buffers in bytes; `None`: the system default. Default: `None`.
    pub socket_buffer: Option<usize>,
    /// Number of connections that are accepted before the accept loop yields to other tasks; 0: no limit.
    /// Default: 1.
    pub accepts_per_event: u32,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            proxy_protocol: None,
            inspection_timeout: Duration::from_secs(15),
            keepalive: None,
            socket_buffer: None,
            accepts_per_event: 1,
        }
    }
}

/// TCP keep-alive settings. `None` in a field: the system default.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Interval between probes.
    pub interval: Option<Duration>,
    /// Number of unanswered probes after which the connection is closed.
    pub probes: Option<u32>,
}

/// Name of a listener.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ListenerId {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Name of the Gateway.
    pub gateway: String,
    /// Name of the listener in the Gateway.
    pub listener: String,
}

/// A listener of a Gateway with its attached routes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listener<P = NoPolicy> {
    /// Name.
    pub id: ListenerId,
    /// Port of the listener in the Gateway. Redirects write this port. It differs from [`Port::port`] if the
    /// port in the Gateway is mapped to another port.
    pub port: u16,
    /// Hostnames that the listener accepts.
    pub hostname: NamePattern,
    /// Protocol, with the TLS settings.
    pub protocol: Protocol,
    /// Settings of the ClientTrafficPolicy, or the defaults.
    pub settings: Arc<ListenerSettings>,
    /// Attached HTTPRoutes and GRPCRoutes, sorted by age, then by namespace and name. The oldest route is
    /// first. If several routes have the same match, the first of them applies.
    pub routes: Vec<Arc<Route<P>>>,
    /// Attached TLSRoutes and TCPRoutes, sorted like `routes`: by age, then by namespace and name. Empty for
    /// HTTP and HTTPS listeners.
    pub streams: Vec<Arc<StreamRoute>>,
    /// Whether the ClientTrafficPolicy is invalid. If so, the listener fails closed: requests that match a
    /// route return 500, and TLSRoutes and TCPRoutes are ignored.
    pub failed: bool,
}

/// The result is the same as that of a derived implementation. Shared routes are compared by pointer first,
/// because a listener can have thousands of routes.
impl<P: PartialEq> PartialEq for Listener<P> {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            id,
            port,
            hostname,
            protocol,
            settings,
            routes,
            streams,
            failed,
        } = self;
        let same = |(a, b): (&Arc<Route<P>>, &Arc<Route<P>>)| Arc::ptr_eq(a, b) || a == b;
        (id, port, hostname) == (&other.id, &other.port, &other.hostname)
            && (protocol, settings, failed) == (&other.protocol, &other.settings, &other.failed)
            && *streams == other.streams
            && routes.len() == other.routes.len()
            && routes.iter().zip(&other.routes).all(same)
    }
}

/// Protocol of a listener.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    Http,
    /// HTTP over TLS; ALPN selects HTTP/1.1 or HTTP/2.
    Https(Arc<ServerTls>),
    /// TLS, routed by server name. `None`: passthrough; the backend terminates TLS.
    Tls(Option<Arc<ServerTls>>),
    /// TCP.
    Tcp,
}
