//! The server side of a TLS handshake: it reads the ClientHello, chooses the configuration, and completes the
//! handshake. Reading the ClientHello and completing the handshake each have a time limit.
//!
//! ```text
//! bytes ──read──> Hello ──choose──> ServerConfig ──shake_hands──> TlsStream, Negotiated
//!         by the first deadline                    within the limit of the listener
//! ```
//!
//! The configuration is chosen once, by the normalised server name. There is no default configuration: if no
//! listener accepts the server name, the connection is closed. A ClientHello may span any number of records
//! and segments. [`accept`] performs all steps. A caller that counts or limits handshakes between the steps
//! uses [`Hello`].

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{CipherSuite, HandshakeKind, InvalidMessage, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

pub use tokio_rustls::server::TlsStream;

use crate::ciphers::{group_name, has_shorter_key, iana_name};
use crate::client_auth::ClientVerifier;
use crate::name::normalize_server_name;
use crate::peer::ClientCertificate;

/// A ClientHello that has not been answered yet.
pub struct Hello<IO> {
    /// Boxed because a `StartHandshake` is large and is moved often.
    start: Box<StartHandshake<IO>>,
    server_name: Option<String>,
}

/// The TLS configuration with which the server answers a ClientHello.
#[derive(Clone, Debug)]
pub struct Choice {
    /// TLS configuration of the listener.
    pub config: Arc<ServerConfig>,
    /// Time limit of the rest of the handshake; `None`: no limit.
    pub handshake_timeout: Option<Duration>,
    /// Verifier of client certificates, from [`ServerTls::client_verifier`]. Without a verifier, `config`
    /// still rejects clients during a full handshake. However, [`Negotiated::client`] is empty, and the
    /// client certificate of a resumed session is not verified again.
    ///
    /// [`ServerTls::client_verifier`]: crate::ServerTls::client_verifier
    pub clients: Option<Arc<ClientVerifier>>,
}

/// The result of a handshake.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Negotiated {
    /// Server name, as in [`Hello::server_name`].
    pub server_name: Option<String>,
    /// Protocol selected by ALPN.
    pub alpn: Option<Vec<u8>>,
    /// Protocol version: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// Key-exchange group; empty for a session that was resumed without key exchange.
    pub group: &'static str,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Verified certificate of the client. `None` if the server requested no certificate, or if the client is
    /// not identified.
    pub client: Option<Arc<ClientCertificate>>,
}

/// Failure of a handshake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The ClientHello or the rest of the handshake exceeded its time limit.
    #[error("the TLS handshake timed out")]
    Timeout,
    /// The client closed the connection before its ClientHello was complete.
    #[error("the connection ended before the ClientHello")]
    Closed,
    /// The first bytes are not TLS, for example an HTTP request.
    #[error("not TLS")]
    NotTls,
    /// No listener accepts the server name. The connection is closed without an alert, as in Envoy.
    #[error("no listener for {}", server_name_text(.0.as_deref()))]
    NoListener(Option<String>),
    /// No certificate covers the server name, and the listener has [`UnknownName::Refuse`]. The client
    /// receives the alert `unrecognized_name`.
    ///
    /// [`UnknownName::Refuse`]: crate::server::UnknownName::Refuse
    #[error("no certificate for {}", server_name_text(.0.as_deref()))]
    Refused(Option<String>),
    /// The client sent no certificate, or a certificate that does not verify.
    #[error("the client's certificate")]
    Client(#[source] io::Error),
    /// Any other failure of the handshake.
    #[error("TLS handshake")]
    Handshake(#[source] io::Error),
}

/// The server name as error messages contain it.
fn server_name_text(name: Option<&str>) -> String {
    name.map_or_else(
        || "a ClientHello without a server name".to_owned(),
        |name| format!("the server name {name}"),
    )
}

/// Performs a handshake as the server.
///
/// `choose` returns the configuration of the listener for a ClientHello, or `None` if no listener accepts
/// its server name.
///
/// # Errors
/// [`AcceptError`]; the connection is closed.
pub async fn accept<IO>(
    io: IO,
    hello_deadline: Instant,
    choose: impl FnOnce(&Hello<IO>) -> Option<Choice>,
) -> Result<(TlsStream<IO>, Negotiated), AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let hello = Hello::read(io, hello_deadline).await?;
    match choose(&hello) {
        Some(choice) => hello.answer(choice).await,
        None => Err(AcceptError::NoListener(hello.server_name)),
    }
}

impl<IO> Hello<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads a ClientHello from `io`. If the ClientHello is malformed, sends an alert; otherwise writes
    /// nothing.
    ///
    /// # Errors
    /// [`AcceptError`]; the connection is closed.
    pub async fn read(io: IO, deadline: Instant) -> Result<Self, AcceptError> {
        let acceptor = LazyConfigAcceptor::new(Acceptor::default(), io);
        let start = timeout_at(deadline, acceptor)
            .await
            .map_err(|_| AcceptError::Timeout)?
            .map_err(hello_error)?;
        let server_name = start
            .client_hello()
            .server_name()
            .and_then(normalize_server_name)
            .map(Cow::into_owned);
        Ok(Self {
            start: Box::new(start),
            server_name,
        })
    }

    /// The server name in lower case, without a trailing dot. `None` if the client sends none, or an IP
    /// address.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocols that the client offers by ALPN, in the client's order of preference.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        self.start.client_hello().alpn().into_iter().flatten()
    }

    /// Completes the handshake within `limit`, with a configuration that requests no client certificate.
    ///
    /// # Errors
    /// [`AcceptError`]; the connection is closed.
    pub async fn shake_hands(
        self,
        config: Arc<ServerConfig>,
        limit: Option<Duration>,
    ) -> Result<(TlsStream<IO>, Negotiated), AcceptError> {
        let choice = Choice {
            config,
            handshake_timeout: limit,
            clients: None,
        };
        self.answer(choice).await
    }

    /// Completes the handshake with the configuration, time limit and verifier of `choice`.
    ///
    /// # Errors
    /// [`AcceptError`]; the connection is closed.
    pub async fn answer(self, choice: Choice) -> Result<(TlsStream<IO>, Negotiated), AcceptError> {
        let Self { start, server_name } = self;
        let Choice {
            config,
            handshake_timeout: limit,
            clients,
        } = choice;
        // The certificate is resolved here, before rustls does so: if there is no certificate, rustls would
        // send the alert `access_denied`, which is less specific than `unrecognized_name`.
        let Some(certificate) = config.cert_resolver.resolve(start.client_hello()) else {
            // The alert is best effort: a client that does not read must not hold the connection.
            let _ = limited(limit, refuse(start)).await;
            return Err(AcceptError::Refused(server_name));
        };
        let config = apply_server_order(config, start.client_hello().cipher_suites());
        let stream = limited(limit, start.into_stream(config))
            .await?
            .map_err(handshake_error)?;
        let mut negotiated = Negotiated::new(&stream, server_name);
        if let Some(verifier) = clients {
            let chain = stream.get_ref().1.peer_certificates();
            let server = certificate.cert.first();
            negotiated.client = verifier
                .identify(chain, negotiated.resumed, server)
                .map_err(|error| AcceptError::Client(io::Error::other(error)))?;
        }
        Ok((stream, negotiated))
    }
}

/// The output contains only the server name.
impl<IO> fmt::Debug for Hello<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Sends the fatal alert `unrecognized_name` (RFC 6066, section 3), unencrypted.
async fn refuse<IO: AsyncRead + AsyncWrite + Unpin>(
    mut start: Box<StartHandshake<IO>>,
) -> io::Result<()> {
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
    start.io.write_all(&ALERT).await?;
    start.io.shutdown().await
}

/// Returns `config` for a client that offers the cipher suites `offered`. If the client prefers AES-256 and
/// also offers AES-128, the server's order of suites applies, because AES-256 costs more CPU time.
fn apply_server_order(config: Arc<ServerConfig>, offered: &[CipherSuite]) -> Arc<ServerConfig> {
    let ours = &config.crypto_provider().cipher_suites;
    if config.ignore_client_order || !has_shorter_key(offered, ours) {
        return config;
    }
    let mut config = (*config).clone();
    config.ignore_client_order = true;
    Arc::new(config)
}

async fn limited<F: Future>(limit: Option<Duration>, future: F) -> Result<F::Output, AcceptError> {
    match limit {
        Some(limit) => timeout(limit, future)
            .await
            .map_err(|_| AcceptError::Timeout),
        None => Ok(future.await),
    }
}

fn hello_error(error: io::Error) -> AcceptError {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    let reason = error.get_ref().and_then(|e| e.downcast_ref());
    match (error.kind(), reason) {
        (UnexpectedEof | ConnectionReset, _) => AcceptError::Closed,
        (
            _,
            Some(rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            )),
        ) => AcceptError::NotTls,
        _ => AcceptError::Handshake(error),
    }
}

/// Distinguishes failures of the client's certificate from other failures.
fn handshake_error(error: io::Error) -> AcceptError {
    use rustls::Error::{InvalidCertRevocationList, InvalidCertificate, NoCertificatesPresented};
    match error.get_ref().and_then(|e| e.downcast_ref()) {
        Some(InvalidCertificate(_) | InvalidCertRevocationList(_) | NoCertificatesPresented) => {
            AcceptError::Client(error)
        }
        _ => AcceptError::Handshake(error),
    }
}

impl Negotiated {
    fn new<IO>(stream: &TlsStream<IO>, server_name: Option<String>) -> Self {
        let (_, connection) = stream.get_ref();
        let group = connection.negotiated_key_exchange_group();
        Self {
            server_name,
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("", |suite| iana_name(suite.suite())),
            group: group.map_or("", |group| group_name(group.name())),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_contain_the_server_name_as_the_client_sent_it() {
        for (error, expected) in [
            (
                AcceptError::NoListener(Some("a.test".to_owned())),
                "no listener for the server name a.test",
            ),
            (
                AcceptError::Refused(None),
                "no certificate for a ClientHello without a server name",
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }
}
