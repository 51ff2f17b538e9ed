//! Opens a connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use towergate_tls::client::ClientTls;
use towergate_tls::connector::{Connector, CryptoProvider, alpn};

use super::Transport;
use super::stream::Stream;
use crate::conn::socket::tcp_keepalive;
use crate::error::Error;
use crate::plan::{BackendConnection, BackendProtocol};

/// A connected stream, and this side's address.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    pub(crate) local: Option<SocketAddr>,
}

/// Connects to `address` as `how` says, with TLS if `tls` is given, both within its time.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<&Tls>,
    how: &Transport,
) -> Result<Connected, Error> {
    let connected = async {
        let tcp = open(address, &how.connection)
            .await
            .map_err(|error| Error::Connect(address, error))?;
        let local = tcp.local_addr().ok();
        let stream = match tls {
            None => Stream::plain(tcp),
            Some(tls) => tls
                .connect(tcp)
                .await
                .map_err(|error| Error::BackendTls(address, error))?,
        };
        Ok(Connected { stream, local })
    };
    match timeout(how.connect_timeout, connected).await {
        Ok(result) => result,
        Err(_) => Err(Error::ConnectTimeout(address)),
    }
}

/// Silence before the first probe. Envoy sends none unless told so.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

async fn open(address: SocketAddr, how: &BackendConnection) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(bytes) = how.socket_buffer {
        // Before the handshake, in which the size of the window is settled.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    let tcp = socket.connect(address).await?;
    // Whole messages are written at once; waiting for more only adds delay.
    tcp.set_nodelay(true)?;
    // A peer that vanished without a word is noticed, also while its connection is idle.
    let keepalive = match &how.keepalive {
        Some(keepalive) => tcp_keepalive(keepalive),
        None => TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL),
    };
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

/// TLS towards one backend.
pub(super) struct Tls {
    /// Or why the settings are unusable: then nothing is ever sent, least of all in plain text.
    connector: Result<Connector, String>,
    protocol: BackendProtocol,
}

impl Tls {
    /// TLS as `settings` say, for one protocol: only that is offered by ALPN.
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

    async fn connect(&self, tcp: TcpStream) -> io::Result<Stream> {
        let connector = self.connector.as_ref();
        let connector = connector.map_err(|error| io::Error::other(error.clone()))?;
        let stream = connector.connect(tcp).await?;
        if self.protocol == BackendProtocol::Http2 && alpn(&stream) != Some(b"h2") {
            return Err(io::Error::other("the backend does not choose h2"));
        }
        Ok(Stream::tls(stream))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::plan::Keepalive;

    #[tokio::test]
    async fn a_socket_gets_the_settings_of_its_policy() {
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
        // Linux keeps twice what it is told, for its own needs.
        let sizes = [set.send_buffer_size(), set.recv_buffer_size()].map(Result::unwrap);
        assert!(
            sizes.iter().all(|size| (32768..=65536).contains(size)),
            "{sizes:?}"
        );
    }
}
