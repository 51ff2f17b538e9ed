//! Opens a connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stream::Stream;
use crate::error::Error;

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
        let tcp = open(address).await.map_err(|error| Error::Connect(address, error))?;
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

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    // Whole messages are written at once; waiting for more only adds delay.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// TLS towards one backend.
pub(super) struct Tls;

impl Tls {
    async fn connect(&self, _tcp: TcpStream) -> io::Result<Stream> {
        Err(io::Error::other("TLS to backends is not built in"))
    }
}
