//! Opens connections to endpoints.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use towergate_tls::client::ClientTls;
use towergate_tls::connector::{Connector, CryptoProvider, alpn};

use super::Transport;
use super::io::UpstreamIo;
use super::socket::UpstreamSocket;
use crate::error::Error;
use crate::plan::{BackendProtocol, EndpointAddress};

/// A connected stream with its local address.
pub(crate) struct EndpointStream {
    pub(crate) io: UpstreamIo,
    pub(crate) local: Option<SocketAddr>,
}

/// Connects to `address` with the settings of `transport`, sends `preamble`, and performs the TLS handshake.
/// The connect timeout limits all three steps.
pub(super) async fn connect(
    address: &EndpointAddress,
    tls: Option<&Tls>,
    transport: &Transport,
    preamble: &[u8],
) -> Result<EndpointStream, Error> {
    let connecting = async {
        let failed = |error| Error::Connect(address.clone(), error);
        let mut socket = UpstreamSocket::connect(address, &transport.connection)
            .await
            .map_err(failed)?;
        if !preamble.is_empty() {
            socket.write_all(preamble).await.map_err(failed)?;
        }
        let local = socket.local_addr();
        let io = match tls {
            None => UpstreamIo::plain(socket),
            Some(tls) => tls
                .connect(socket)
                .await
                .map_err(|error| Error::BackendTls(address.clone(), error))?,
        };
        Ok(EndpointStream { io, local })
    };
    match timeout(transport.connect_timeout, connecting).await {
        Ok(result) => result,
        Err(_) => Err(Error::ConnectTimeout(address.clone())),
    }
}

/// TLS client settings of one backend.
pub(super) struct Tls {
    /// The connector, or the reason why the settings are invalid. With invalid settings no data is sent,
    /// neither encrypted nor in plain text.
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

    async fn connect(&self, socket: UpstreamSocket) -> io::Result<UpstreamIo> {
        let connector = self.connector.as_ref();
        let connector = connector.map_err(|error| io::Error::other(error.clone()))?;
        let stream = connector.connect(socket).await?;
        if self.protocol == BackendProtocol::Http2 && alpn(&stream) != Some(b"h2") {
            return Err(io::Error::other("backend did not select h2 by ALPN"));
        }
        Ok(UpstreamIo::tls(stream))
    }
}
