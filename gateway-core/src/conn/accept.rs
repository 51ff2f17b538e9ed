//! What happens to an accepted connection until HTTP is spoken: PROXY header, TLS, limits.
//!
//! Nothing is written before the PROXY header, if one is expected, is complete and valid.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::drain::Drain;
use super::listener::Server;
use super::opening::{Opening, read_opening};
use super::prefixed::Prefixed;
use super::proxy::{self, Ends};
use super::{ConnInfo, ListenerConfig, Open, PortConfig, TlsInfo, Transport};
use super::{sleep_until, tls, warn_unexpected_proxy};
use crate::observer::Event;
use crate::serve::{Handler, Session, serve_connection};

/// A connection whose PROXY header, if there was one, is read.
type Stream = Prefixed<TcpStream>;

/// A connection after the TLS handshake.
struct Secure {
    stream: Box<TlsStream<Prefixed<Stream>>>,
    info: TlsInfo,
    listener: Arc<ListenerConfig>,
}

/// Why there is no TLS.
enum NotSecure {
    /// The word says why.
    Failed(&'static str),
    /// The limit of the listener is reached.
    Surplus(Arc<ListenerConfig>),
    /// Nothing came, and we are about to end.
    Draining,
}

/// A connection on its way.
struct Arrival<H> {
    server: Server<H>,
    config: Arc<PortConfig>,
    drain: Drain,
    open: Open,
    /// Until when the PROXY header and the ClientHello must be there.
    deadline: Instant,
    ends: Ends,
}

/// Serves one accepted connection until its end.
pub(crate) async fn serve<H: Handler>(
    stream: TcpStream,
    tcp_peer: SocketAddr,
    config: Arc<PortConfig>,
    server: Server<H>,
    drain: Drain,
) {
    let open = Open::new(config.port, server.observer.clone(), &drain);
    let Ok(local) = stream.local_addr() else {
        return; // The client has left already.
    };
    let arrival = Arrival {
        deadline: Instant::now() + config.tcp.inspection_timeout,
        ends: Ends::of_tcp(tcp_peer, local),
        config: config.clone(),
        server,
        drain,
        open,
    };
    match &config.transport {
        Transport::Plain(listener) => arrival.serve_plain(stream, listener).await,
        Transport::Tls(_) => arrival.serve_tls(stream).await,
    }
}

// What is only needed on the way is boxed, so that a connection does not keep its room for life.
impl<H: Handler> Arrival<H> {
    async fn serve_plain(mut self, stream: TcpStream, listener: &ListenerConfig) {
        if !self.open.admit(listener) {
            return self.refuse(listener).await;
        }
        if let Some(stream) = Box::pin(self.read_proxy(stream)).await {
            self.serve_http(stream, listener, None).await;
        }
    }

    async fn serve_tls(mut self, stream: TcpStream) {
        let Some(stream) = Box::pin(self.read_proxy(stream)).await else {
            return;
        };
        match Box::pin(self.shake_hands(stream)).await {
            Ok(secure) => {
                let listener = secure.listener;
                self.serve_http(secure.stream, &listener, Some(secure.info))
                    .await;
            }
            Err(NotSecure::Failed(word)) => {
                self.note(&Event::TlsFailed(self.config.port, word));
            }
            Err(NotSecure::Surplus(listener)) => self.refuse(&listener).await,
            Err(NotSecure::Draining) => {}
        }
    }

    async fn shake_hands(&mut self, stream: Stream) -> Result<Secure, NotSecure> {
        let hello = tokio::select! {
            hello = self.read_hello(stream) => hello.map_err(NotSecure::Failed)?,
            () = self.drain.overdue() => return Err(NotSecure::Draining),
        };
        let listener = hello.listener.clone();
        if !self.open.admit(&listener) {
            return Err(NotSecure::Surplus(listener));
        }
        let (stream, info, resumed) = hello.shake_hands().await.map_err(NotSecure::Failed)?;
        self.note(&Event::TlsHandshake(&listener.id, info.version, resumed));
        Ok(Secure {
            stream: Box::new(stream),
            info,
            listener,
        })
    }

    /// Reads the PROXY header, if the port expects one. `None`: the connection is to be closed.
    async fn read_proxy(&mut self, mut stream: TcpStream) -> Option<Stream> {
        let config = self.config.clone();
        let Some(mode) = &config.tcp.proxy_protocol else {
            return Some(Prefixed::new(stream, bytes::Bytes::new()));
        };
        let preamble = tokio::select! {
            preamble = proxy::read(&mut stream, mode, self.deadline) => preamble,
            () = self.drain.overdue() => return None,
        };
        match preamble {
            Ok(preamble) => {
                self.ends = self.ends.replaced_by(preamble.addresses);
                Some(Prefixed::new(stream, preamble.rest))
            }
            Err(error) => {
                self.note(&Event::ProxyRejected(config.port, error.reason()));
                None
            }
        }
    }

    /// Reads the ClientHello, if the first bytes are those of TLS.
    async fn read_hello(
        &self,
        mut stream: Stream,
    ) -> Result<tls::Hello<Prefixed<Stream>>, &'static str> {
        let Transport::Tls(listeners) = &self.config.transport else {
            return Err("no_tls_settings");
        };
        let mut opening = Opening::default();
        let read = read_opening(&mut stream, &mut opening);
        match tokio::time::timeout_at(self.deadline, read).await {
            Err(_) => return Err("client_hello_timeout"),
            Ok(Err(_)) => return Err("client_left"),
            Ok(Ok(())) => {}
        }
        if let Some(version) = opening.proxy_version().filter(|_| !self.expects_proxy()) {
            let (port, peer) = (self.config.port, self.ends.tcp_peer);
            self.note(&Event::UnexpectedProxyHeader(port, peer));
            warn_unexpected_proxy(port, peer, version);
        }
        match opening.as_slice() {
            [] => Err("client_left"),
            _ if opening.is_tls() => {
                tls::read_hello(opening.put_back(stream), listeners, self.deadline).await
            }
            _ if opening.is_http() => Err("plain_http"),
            _ => Err("no_tls"),
        }
    }

    async fn serve_http<Io>(self, io: Io, listener: &ListenerConfig, tls: Option<TlsInfo>)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let session = Session {
            proxy_expected: self.expects_proxy(),
            info: Arc::new(ConnInfo {
                tcp_peer: self.ends.tcp_peer,
                peer: self.ends.peer,
                local: self.ends.local,
                slot: self.config.slot,
                port: self.config.port,
                tls,
            }),
            settings: listener.settings.clone(),
            handler: self.server.handler,
            observer: self.server.observer,
            drain: self.drain,
            open: self.open,
        };
        serve_connection(io, session).await;
    }

    /// Keeps a surplus connection for a while, so that its client does not come back at once.
    async fn refuse(self, listener: &ListenerConfig) {
        let delay = listener.settings.limits.close_delay.unwrap_or_default();
        tokio::select! {
            () = sleep_until(Some(Instant::now() + delay)) => {}
            () = self.drain.started() => {}
        }
    }

    fn expects_proxy(&self) -> bool {
        self.config.tcp.proxy_protocol.is_some()
    }

    fn note(&self, event: &Event<'_>) {
        self.server.observer.observe(event);
    }
}
