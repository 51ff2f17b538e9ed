//! Ports, their listeners, and what a ClientTrafficPolicy sets on them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use towergate_tls::{NamePattern, ServerTls};

use super::{Route, StreamRoute};
use crate::http::settings::ListenerSettings;
use crate::policy::NoPolicy;
use crate::proxy_protocol::ProxyProtocol;

/// One socket, shared by all listeners of its address and port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port<P = NoPolicy> {
    /// The addresses to bind.
    pub addresses: Vec<IpAddr>,
    /// The port to bind. May differ from what the Gateway says: see `Listener::port`.
    pub port: u16,
    /// What happens before a listener is chosen.
    pub tcp: TcpSettings,
    /// By hostname; no two have the same. All have the same transport: all plain HTTP, all TLS (HTTPS
    /// and TLS listeners may be mixed), or one of TCP.
    pub listeners: Vec<Listener<P>>,
}

/// What applies to a connection before it is known which listener it is for.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct TcpSettings {
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Time for the PROXY header and the ClientHello together. Envoy Gateway: 15 s.
    pub inspection_timeout: Duration,
    /// TCP keep-alive of accepted sockets.
    pub keepalive: Option<Keepalive>,
    /// Size of the socket's buffers, in bytes.
    pub socket_buffer: Option<usize>,
    /// Connections accepted in a row before others get their turn; 0: no bound.
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

/// TCP keep-alive; `None`: the system's value.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes before the connection is given up.
    pub probes: Option<u32>,
}

/// The name of a listener.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ListenerId {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Name of the Gateway.
    pub gateway: String,
    /// Name of the listener within it.
    pub listener: String,
}

/// A listener of a Gateway and everything attached to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listener<P = NoPolicy> {
    /// Its name.
    pub id: ListenerId,
    /// The port that the Gateway names, which redirects use; the socket's may be mapped.
    pub port: u16,
    /// The host names that it takes.
    pub hostname: NamePattern,
    /// What it speaks.
    pub protocol: Protocol,
    /// What its ClientTrafficPolicy says, or the defaults.
    pub settings: Arc<ListenerSettings>,
    /// Attached routes, oldest first, then by namespace and name: of equal matches the first wins.
    pub routes: Vec<Arc<Route<P>>>,
    /// Attached routes of connections, in the same order; of a listener of TLS or TCP.
    pub streams: Vec<Arc<StreamRoute>>,
    /// The policy is invalid: every request is answered 500 (fail closed).
    pub failed: bool,
}

/// As derived, but routes that both share are not compared: there may be very many.
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

/// What a listener speaks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    Http,
    /// The same over TLS, by ALPN.
    Https(Arc<ServerTls>),
    /// Bytes over TLS, by server name; `None`: the backend ends TLS (passthrough).
    Tls(Option<Arc<ServerTls>>),
    /// Bytes.
    Tcp,
}
