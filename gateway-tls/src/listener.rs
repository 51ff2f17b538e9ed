//! A TCP listener for services outside the gateway; the gateway has its own accept loop. Handshakes run
//! concurrently, so a slow client does not delay others.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::acceptor::{AcceptError, Choice, Negotiated, TlsStream, accept};
use crate::client_auth::ClientVerifier;

/// The result of a handshake: the stream and the negotiated parameters, or the error.
type Shaken = Result<(TlsStream<TcpStream>, Negotiated), AcceptError>;

/// Accepts TLS connections.
pub struct TlsListener {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    timeout: Duration,
    clients: Option<Arc<ClientVerifier>>,
    handshakes: JoinSet<(SocketAddr, Shaken)>,
}

impl TlsListener {
    /// Limit of concurrent handshakes; further connections stay in the backlog of the socket.
    pub const PENDING: usize = 1024;

    /// Accepts connections of `listener` with `config`, which [`ServerTls::build`](crate::ServerTls::build)
    /// creates.
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self {
            listener,
            config,
            timeout: Duration::from_secs(10),
            clients: None,
            handshakes: JoinSet::new(),
        }
    }

    /// Sets the time limit for reading the ClientHello. The same limit applies to the rest of the handshake.
    /// Default: 10 seconds each.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the verifier that identifies clients ([`Negotiated::client`]), from
    /// [`ServerTls::client_verifier`](crate::ServerTls::client_verifier).
    #[must_use]
    pub fn clients(self, clients: Option<Arc<ClientVerifier>>) -> Self {
        Self { clients, ..self }
    }

    /// The local address of the listener.
    ///
    /// # Errors
    /// As [`TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the next completed handshake and its peer address. Cancel safe: dropping the future loses
    /// no connection.
    ///
    /// # Errors
    /// The handshake failed. Only the connection of this handshake is closed.
    pub async fn accept(&mut self) -> (SocketAddr, Shaken) {
        loop {
            tokio::select! {
                // A panic in a handshake closes only the connection of this handshake.
                Some(done) = self.handshakes.join_next() => if let Ok(shaken) = done {
                    return shaken;
                },
                accepted = self.listener.accept(), if self.handshakes.len() < Self::PENDING => {
                    match accepted {
                        Ok((stream, peer)) => self.begin(stream, peer),
                        // The usual cause of an error is that the process has too many open files, so an
                        // immediate retry would fail too.
                        Err(_) => sleep(Duration::from_millis(100)).await,
                    }
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let choice = Choice {
            config: self.config.clone(),
            handshake_timeout: Some(self.timeout),
            clients: self.clients.clone(),
        };
        let deadline = Instant::now() + self.timeout;
        self.handshakes
            .spawn(async move { (peer, accept(stream, deadline, |_| Some(choice)).await) });
    }
}

impl fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListener")
            .field("listener", &self.listener)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use rustls_pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::default_provider;
    use crate::testing::{Key, certificate, client, settings};

    async fn listener() -> TlsListener {
        let certificate = certificate(&["a.test"], Key::P256);
        let config = settings(&[&certificate])
            .build(default_provider(), None)
            .expect("it works");
        TlsListener::new(
            TcpListener::bind("127.0.0.1:0").await.expect("it works"),
            config,
        )
    }

    #[tokio::test]
    async fn a_silent_client_does_not_delay_others() {
        let mut listener = listener().await;
        let at = listener.local_addr().expect("it works");
        let _silent = TcpStream::connect(at).await.expect("it works");
        let stream = TcpStream::connect(at).await.expect("it works");
        let peer = stream.local_addr().expect("it works");
        let name = ServerName::try_from("a.test").expect("it works");
        let connector = TlsConnector::from(Arc::new(client()));

        let (accepted, connected) =
            tokio::join!(listener.accept(), connector.connect(name, stream));

        connected.expect("it works");
        assert_eq!(accepted.0, peer);
        let (_, negotiated) = accepted.1.expect("it works");
        assert_eq!(negotiated.server_name.as_deref(), Some("a.test"));
    }

    #[tokio::test]
    async fn a_silent_client_is_closed_after_the_time_limit() {
        let mut listener = listener().await.timeout(Duration::from_millis(1));
        let at = listener.local_addr().expect("it works");
        let _silent = TcpStream::connect(at).await.expect("it works");

        let (_, shaken) = listener.accept().await;

        assert!(matches!(shaken, Err(AcceptError::Timeout)), "{shaken:?}");
    }
}
