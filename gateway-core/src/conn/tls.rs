//! TLS: the listener is chosen by the ClientHello, then the handshake is done with its settings.

use std::io;
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::{StartHandshake, TlsStream};
use towergate_tls::NameMap;

use super::{ListenerConfig, TlsInfo, sleep_until};

/// A ClientHello, and the listener that its server name belongs to.
pub(crate) struct Hello<Io> {
    start: StartHandshake<Io>,
    server_name: Option<String>,
    pub(crate) listener: Arc<ListenerConfig>,
}

/// Reads a ClientHello and finds the listener. The error is a word for metrics; nothing was
/// written then, except the alert for a malformed hello.
pub(crate) async fn read_hello<Io>(
    io: Io,
    listeners: &NameMap<Arc<ListenerConfig>>,
    deadline: Instant,
) -> Result<Hello<Io>, &'static str>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = LazyConfigAcceptor::new(Acceptor::default(), io);
    let start = match tokio::time::timeout_at(deadline, acceptor).await {
        Err(_) => return Err("client_hello_timeout"),
        Ok(Err(error)) => return Err(word_for(&error, "malformed_client_hello")),
        Ok(Ok(start)) => start,
    };
    let server_name = start.client_hello().server_name().map(normal);
    let listener = listeners
        .find(server_name.as_deref().unwrap_or_default())
        .ok_or("no_listener")?
        .clone();
    Ok(Hello {
        start,
        server_name,
        listener,
    })
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Hello<Io> {
    /// Does the rest of the handshake. Besides what is known of it, tells whether a session was
    /// resumed.
    pub(crate) async fn shake_hands(self) -> Result<(TlsStream<Io>, TlsInfo, bool), &'static str> {
        let config = self.listener.tls.clone().ok_or("no_tls_settings")?;
        let limit = self.listener.settings.timeouts.tls_handshake;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let stream = tokio::select! {
            result = self.start.into_stream(config) => result,
            () = sleep_until(deadline) => return Err("handshake_timeout"),
        };
        let stream = stream.map_err(|error| word_for(&error, "handshake_failed"))?;
        let (info, resumed) = describe(&stream, self.server_name);
        Ok((stream, info, resumed))
    }
}

fn describe<Io>(stream: &TlsStream<Io>, server_name: Option<String>) -> (TlsInfo, bool) {
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
    let info = TlsInfo {
        server_name,
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        version,
        cipher: suite.map_or("", iana_name),
    };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    (info, resumed)
}

/// The name in IANA's registry; rustls marks those of TLS 1.3.
fn iana_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}

/// Lower case, without one trailing dot.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn word_for(error: &io::Error, otherwise: &'static str) -> &'static str {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => "client_left",
        _ => otherwise,
    }
}
