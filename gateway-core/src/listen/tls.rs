//! TLS termination. The server name of the ClientHello selects the listener; the handshake uses the settings
//! of this listener.
//!
//! The handshake itself is in [`towergate_tls::acceptor`]. This module selects the listener and maps
//! errors to the reasons that metrics report.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use towergate_tls::NameMap;
use towergate_tls::acceptor::{self, AcceptError, Choice, Negotiated, TlsStream};

use super::config::ListenerConfig;
use crate::conn::TlsFingerprints;

/// A ClientHello and the listener that matches its server name.
pub(super) struct Hello<Io> {
    hello: acceptor::Hello<Io>,
    pub(super) listener: Arc<ListenerConfig>,
    /// Fingerprints of the ClientHello. `None` if the settings of the listener configure no fingerprint.
    pub(super) fingerprints: Option<Arc<TlsFingerprints>>,
}

/// Reads a ClientHello and selects the listener. The error is a reason for metrics. If reading fails, nothing
/// has been written, except the alert for a malformed ClientHello.
pub(super) async fn read_hello<Io>(
    io: Io,
    listeners: &NameMap<Arc<ListenerConfig>>,
    deadline: Instant,
) -> Result<Hello<Io>, &'static str>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let hello = acceptor::Hello::read(io, deadline)
        .await
        .map_err(|error| reason(&error, "client_hello_timeout", "malformed_client_hello"))?;
    let listener = listeners
        .find(hello.server_name().unwrap_or_default())
        .ok_or("no_listener")?
        .clone();
    Ok(Hello {
        hello,
        listener,
        fingerprints: None,
    })
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Hello<Io> {
    /// The server name in lower case, without a trailing dot.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.hello.server_name()
    }

    /// Completes the handshake. The error is a reason for metrics.
    pub(super) async fn shake_hands(self) -> Result<(TlsStream<Io>, Negotiated), &'static str> {
        let config = self.listener.tls.clone().ok_or("no_tls_settings")?;
        let choice = Choice {
            config,
            handshake_timeout: self.listener.settings.timeouts.tls_handshake,
            clients: self.listener.clients.clone(),
        };
        self.hello
            .answer(choice)
            .await
            .map_err(|error| reason(&error, "handshake_timeout", "handshake_failed"))
    }
}

/// The reason for metrics that corresponds to `error`. `timeout` and `failure` are the reasons of the current
/// step.
fn reason(error: &AcceptError, timeout: &'static str, failure: &'static str) -> &'static str {
    match error {
        AcceptError::Timeout => timeout,
        AcceptError::Closed => "client_left",
        AcceptError::Refused(_) => "unknown_server_name",
        AcceptError::Client(_) => "client_certificate",
        AcceptError::Handshake(error) if is_disconnect(error) => "client_left",
        _ => failure,
    }
}

fn is_disconnect(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
