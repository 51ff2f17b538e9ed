//! The client side of a TLS handshake, with a backend.

use std::io;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::client::{ClientConfig, ClientTls};
use crate::error::TlsError;

pub use rustls::crypto::CryptoProvider;
pub use tokio_rustls::client::TlsStream;

/// Connects to one backend over TLS.
#[derive(Clone)]
pub struct Connector {
    config: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// Builds a connector from `tls`.
    ///
    /// # Errors
    /// [`TlsError`] names the unusable setting.
    pub fn new(tls: &ClientTls, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let config: Arc<ClientConfig> = tls.build(provider)?;
        Ok(Self {
            config: TlsConnector::from(config),
            name: tls.server_name()?,
        })
    }

    /// Performs the handshake over `stream`, without a time limit.
    ///
    /// # Errors
    /// An I/O error, which contains the error of rustls if the handshake fails.
    pub async fn connect<IO>(&self, stream: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.config.connect(self.name.clone(), stream).await
    }
}

/// The protocol selected by ALPN.
pub fn alpn<IO>(stream: &TlsStream<IO>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}
