//! What happens to an accepted connection until HTTP is spoken: PROXY header, TLS, limits.
//!
//! Nothing is written before the PROXY header, if one is expected, is complete and valid.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;
use towergate_tls::acceptor::{Negotiated, TlsStream};

use super::drain::Drain;
use super::listener::Server;
use super::opening::{Opening, read_opening};
use super::prefixed::Prefixed;
use super::proxy::{self, Ends};
use super::{ConnInfo, ListenerConfig, Open, PortConfig, Transport};
use super::{sleep_until, tls, warn_unexpected_proxy};
use crate::observer::Event;
use crate::serve::{Handler, Session, serve_connection};

/// A connection whose PROXY header, if there was one, is read.
type Stream = Prefixed<TcpStream>;

/// A connection after the TLS handshake.
struct Secure {
    stream: Box<TlsStream<Prefixed<Stream>>>,
    negotiated: Negotiated,
    listener: Arc<ListenerConfig>,
}

/// Why there is no TLS.
enum NotSecure {
    /// The word says why.
    Failed(&'static str),
    /// The limit of the listener is reached; the connection is still open.
    Surplus(Box<tls::Hello<Prefixed<Stream>>>),
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

/// A connection on which HTTP can be spoken.
enum Arrived<H> {
    Plain(Stream, Session<H>),
    Tls(Box<TlsStream<Prefixed<Stream>>>, Session<H>),
}

/// Serves one accepted connection until its end.
pub(crate) fn serve<H: Handler>(
    stream: TcpStream,
    tcp_peer: SocketAddr,
    config: Arc<PortConfig>,
    server: Server<H>,
    drain: Drain,
) -> impl Future<Output = ()> + Send {
    // What is only needed on the way is boxed, so that a connection does not keep its room for life.
    let arrival = Box::pin(arrive(stream, tcp_peer, config, server, drain));
    async move {
        let arrived = arrival.await;
        match arrived {
            Some(Arrived::Plain(io, session)) => serve_connection(io, session).await,
            Some(Arrived::Tls(io, session)) => serve_connection(io, session).await,
            None => {}
        }
    }
}

/// `None`: the connection is over.
async fn arrive<H: Handler>(
    stream: TcpStream,
    tcp_peer: SocketAddr,
    config: Arc<PortConfig>,
    server: Server<H>,
    drain: Drain,
) -> Option<Arrived<H>> {
    let open = Open::new(config.port, server.observer.clone(), &drain);
    // Without an address the client has left already.
    let local = stream.local_addr().ok()?;
    let arrival = Arrival {
        deadline: Instant::now() + config.tcp.inspection_timeout,
        ends: Ends::of_tcp(tcp_peer, local),
        config: config.clone(),
        server,
        drain,
        open,
    };
    match &config.transport {
        Transport::Plain(listener) => arrival.arrive_plain(stream, listener).await,
        Transport::Tls(_) => arrival.arrive_tls(stream).await,
    }
}

impl<H: Handler> Arrival<H> {
    async fn arrive_plain(
        mut self,
        stream: TcpStream,
        listener: &ListenerConfig,
    ) -> Option<Arrived<H>> {
        if !self.open.admit(listener) {
            self.refuse(listener).await;
            return None;
        }
        let stream = self.read_proxy(stream).await?;
        Some(Arrived::Plain(stream, self.session(listener, None)))
    }

    async fn arrive_tls(mut self, stream: TcpStream) -> Option<Arrived<H>> {
        let stream = self.read_proxy(stream).await?;
        match self.shake_hands(stream).await {
            Ok(secure) => {
                let session = self.session(&secure.listener, Some(secure.negotiated));
                return Some(Arrived::Tls(secure.stream, session));
            }
            Err(NotSecure::Failed(word)) => {
                self.note(&Event::TlsFailed(self.config.port, word));
            }
            Err(NotSecure::Surplus(hello)) => {
                let listener = hello.listener.clone();
                self.refuse(&listener).await;
                // It holds the socket, which is to be closed only now.
                drop(hello);
            }
            Err(NotSecure::Draining) => {}
        }
        None
    }

    async fn shake_hands(&mut self, stream: Stream) -> Result<Secure, NotSecure> {
        let hello = tokio::select! {
            hello = self.read_hello(stream) => hello.map_err(NotSecure::Failed)?,
            () = self.drain.overdue() => return Err(NotSecure::Draining),
        };
        let listener = hello.listener.clone();
        if !self.open.admit(&listener) {
            return Err(NotSecure::Surplus(Box::new(hello)));
        }
        let (stream, negotiated) = hello.shake_hands().await.map_err(NotSecure::Failed)?;
        let (version, resumed) = (negotiated.version, negotiated.resumed);
        let port = self.config.port;
        self.note(&Event::TlsHandshake(port, &listener.id, version, resumed));
        Ok(Secure {
            stream: Box::new(stream),
            negotiated,
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

    fn session(self, listener: &ListenerConfig, tls: Option<Negotiated>) -> Session<H> {
        Session {
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
        }
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
