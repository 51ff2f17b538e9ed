//! Opens a connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use towergate_tls::client::ClientTls;
use towergate_tls::connector::{Connector, CryptoProvider, alpn};

use super::stream::Stream;
use crate::error::Error;
use crate::plan::BackendProtocol;

/// A connected stream, and this side's address.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) local: Option<SocketAddr>,
}

/// Connects to `address`, with TLS if `tls` is given, both within `limit`.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<&Tls>,
    limit: Duration,
) -> Result<Connected, Error> {
    let connected = async {
        let tcp = open(address)
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
    match timeout(limit, connected).await {
        Ok(result) => result,
        Err(_) => Err(Error::ConnectTimeout(address)),
    }
}

/// Silence before the first probe. Envoy sends none unless told so.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    // Whole messages are written at once; waiting for more only adds delay.
    tcp.set_nodelay(true)?;
    // A peer that vanished without a word is noticed, also while its connection is idle.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
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
