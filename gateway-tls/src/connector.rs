//! The handshake with a backend.

use std::io;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::client::{ClientConfig, ClientTls};
use crate::error::TlsError;

pub use rustls::crypto::CryptoProvider;
pub use tokio_rustls::client::TlsStream;

/// Speaks TLS to one backend.
#[derive(Clone)]
pub struct Connector {
    config: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// Builds what connects as `tls` says.
    ///
    /// # Errors
    /// [`TlsError`] names what is unusable.
    pub fn new(tls: &ClientTls, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let config: Arc<ClientConfig> = tls.build(provider)?;
        Ok(Self {
            config: TlsConnector::from(config),
            name: tls.server_name()?,
        })
    }

    /// Does the handshake. It has no deadline of its own.
    ///
    /// # Errors
    /// What the handshake failed of: the system's error, or one that holds rustls' own.
    pub async fn connect<IO>(&self, stream: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.config.connect(self.name.clone(), stream).await
    }
}

/// The protocol that ALPN chose.
pub fn alpn<IO>(stream: &TlsStream<IO>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}
