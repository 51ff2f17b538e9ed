//! Opens connections to endpoints.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use towergate_tls::client::ClientTls;
use towergate_tls::connector::{Connector, CryptoProvider, alpn};

use super::Transport;
use super::io::UpstreamIo;
use crate::error::Error;
use crate::keepalive::tcp_keepalive;
use crate::plan::{BackendConnection, BackendProtocol};

/// A connected stream with its local address.
pub(crate) struct EndpointStream {
    pub(crate) io: UpstreamIo,
    pub(crate) local: Option<SocketAddr>,
}

/// Connects to `address` with the settings of `transport`, sends `preamble`, and performs the TLS handshake, within
/// the connect timeout.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<&Tls>,
    transport: &Transport,
    preamble: &[u8],
) -> Result<EndpointStream, Error> {
    let connecting = async {
        let failed = |error| Error::Connect(address, error);
        let mut tcp = open(address, &transport.connection).await.map_err(failed)?;
        if !preamble.is_empty() {
            tcp.write_all(preamble).await.map_err(failed)?;
        }
        let local = tcp.local_addr().ok();
        let io = match tls {
            None => UpstreamIo::plain(tcp),
            Some(tls) => tls
                .connect(tcp)
                .await
                .map_err(|error| Error::BackendTls(address, error))?,
        };
        Ok(EndpointStream { io, local })
    };
    match timeout(transport.connect_timeout, connecting).await {
        Ok(result) => result,
        Err(_) => Err(Error::ConnectTimeout(address)),
    }
}

/// Idle time before the first keep-alive probe. Envoy sends none by default.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Interval between keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

async fn open(address: SocketAddr, settings: &BackendConnection) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(bytes) = settings.socket_buffer {
        // Set before the TCP handshake, which negotiates the window scale.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    let tcp = socket.connect(address).await?;
    // Complete messages are written at once; Nagle's algorithm would only delay them.
    tcp.set_nodelay(true)?;
    // Detects peers that vanished, even while a connection is idle.
    let keepalive = match &settings.keepalive {
        Some(keepalive) => tcp_keepalive(keepalive),
        None => TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL),
    };
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

/// TLS client settings of one backend.
pub(super) struct Tls {
    /// The connector, or why the settings are invalid. In that case no data is sent, neither
    /// encrypted nor in plain text.
    connector: Result<Connector, String>,
    protocol: BackendProtocol,
}

impl Tls {
    /// Builds the connector. ALPN offers only `protocol`.
    pub(super) fn new(
        settings: &ClientTls,
        protocol: BackendProtocol,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let mut settings = settings.clone();
        match protocol {
            BackendProtocol::Http1 => settings.alpn.retain(|name| name != "h2"),
            BackendProtocol::Http2 => settings.alpn = vec!["h2".to_owned()],
        }
        let connector = Connector::new(&settings, provider.clone());
        Self {
            connector: connector.map_err(|error| error.to_string()),
            protocol,
        }
    }

    async fn connect(&self, tcp: TcpStream) -> io::Result<UpstreamIo> {
        let connector = self.connector.as_ref();
        let connector = connector.map_err(|error| io::Error::other(error.clone()))?;
        let stream = connector.connect(tcp).await?;
        if self.protocol == BackendProtocol::Http2 && alpn(&stream) != Some(b"h2") {
            return Err(io::Error::other("backend did not select h2 by ALPN"));
        }
        Ok(UpstreamIo::tls(stream))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::plan::Keepalive;

    #[tokio::test]
    async fn a_socket_has_the_configured_options() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let how = BackendConnection {
            keepalive: Some(Keepalive {
                idle: Some(Duration::from_secs(77)),
                interval: Some(Duration::from_secs(11)),
                probes: Some(4),
            }),
            socket_buffer: Some(32 * 1024),
            ..Default::default()
        };

        let set = open(address, &how).await.unwrap();
        let plain = open(address, &BackendConnection::default()).await.unwrap();

        let (set, plain) = (SockRef::from(&set), SockRef::from(&plain));
        assert!(set.keepalive().unwrap() && plain.keepalive().unwrap());
        assert_eq!(set.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert_eq!(
            set.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(11)
        );
        assert_eq!(set.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(plain.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        // Linux doubles the requested size for its own bookkeeping.
        let sizes = [set.send_buffer_size(), set.recv_buffer_size()].map(Result::unwrap);
        assert!(
            sizes.iter().all(|size| (32768..=65536).contains(size)),
            "{sizes:?}"
        );
    }
}
