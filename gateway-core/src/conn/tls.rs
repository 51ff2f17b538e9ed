//! TLS: the listener is chosen by the ClientHello, then the handshake is done with its settings.
//!
//! The handshake itself is [`towergate_tls::acceptor`]'s; here it gets its listeners, and metrics
//! their words.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use towergate_tls::NameMap;
use towergate_tls::acceptor::{self, AcceptError, Choice, Negotiated, TlsStream};

use super::ListenerConfig;

/// A ClientHello, and the listener that its server name belongs to.
pub(crate) struct Hello<Io> {
    hello: acceptor::Hello<Io>,
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
    let hello = acceptor::Hello::read(io, deadline)
        .await
        .map_err(|error| word_for(&error, "client_hello_timeout", "malformed_client_hello"))?;
    let listener = listeners
        .find(hello.server_name().unwrap_or_default())
        .ok_or("no_listener")?
        .clone();
    Ok(Hello { hello, listener })
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Hello<Io> {
    /// The server name: lower case, without a trailing dot.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.hello.server_name()
    }

    /// Does the rest of the handshake. The error is a word for metrics.
    pub(crate) async fn shake_hands(self) -> Result<(TlsStream<Io>, Negotiated), &'static str> {
        let config = self.listener.tls.clone().ok_or("no_tls_settings")?;
        let choice = Choice {
            config,
            handshake_timeout: self.listener.settings.timeouts.tls_handshake,
            clients: self.listener.clients.clone(),
        };
        self.hello
            .answer(choice)
            .await
            .map_err(|error| word_for(&error, "handshake_timeout", "handshake_failed"))
    }
}

/// The word for an error of a step, which has words of its own for being late and for failing.
fn word_for(error: &AcceptError, late: &'static str, failed: &'static str) -> &'static str {
    match error {
        AcceptError::Timeout => late,
        AcceptError::Closed => "client_left",
        AcceptError::Refused(_) => "unknown_server_name",
        AcceptError::Client(_) => "client_certificate",
        AcceptError::Handshake(error) if has_left(error) => "client_left",
        _ => failed,
    }
}

fn has_left(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
