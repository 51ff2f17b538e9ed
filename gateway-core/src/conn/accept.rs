//! What happens to an accepted connection until HTTP is spoken, or its bytes are passed on: PROXY
//! header, TLS, route, limits.
//!
//! Nothing is written before the PROXY header, if one is expected, is complete and valid.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;
use towergate_tls::NameMap;
use towergate_tls::acceptor::{Negotiated, TlsStream};

use super::drain::Drain;
use super::listener::Server;
use super::opening::{Opening, read_opening};
use super::prefixed::Prefixed;
use super::proxy::{self, Ends};
use super::{ConnInfo, ListenerConfig, Open, PortConfig, Transport};
use super::{client_hello, sleep_until, tls, warn_unexpected_proxy};
use crate::error::Error;
use crate::in_box::in_box;
use crate::observer::Event;
use crate::proxy_protocol::Addresses;
use crate::serve::{Handler, Session, serve_connection};
use crate::stream::copy::Limits;
use crate::stream::{ClientSide, Passage, Record, StreamTable, StreamTarget, pass};
use crate::traffic::Chosen;

/// A connection whose PROXY header, if there was one, is read.
type Stream = Prefixed<TcpStream>;

/// A connection after the TLS handshake.
struct Secure {
    stream: Box<TlsStream<Prefixed<Stream>>>,
    negotiated: Negotiated,
    listener: Arc<ListenerConfig>,
}

/// A ClientHello that nobody has answered yet.
enum Greeting {
    /// We will.
    Ours(Box<tls::Hello<Prefixed<Stream>>>),
    /// The backend will; the bytes are still to be read. With the server name.
    Backends(Stream, Option<String>, Arc<ListenerConfig>),
}

/// Why there is no connection.
enum NotSecure {
    /// The word says why.
    Failed(&'static str),
    /// The limit of the listener is reached; the connection is still open.
    Surplus(Greeting),
    /// Nothing came, and we are about to end.
    Draining,
    /// It can go nowhere; that was told.
    Refused,
}

/// A connection on its way.
struct Arrival<H> {
    server: Server<H>,
    config: Arc<PortConfig>,
    drain: Drain,
    open: Open,
    started: Instant,
    /// Until when the PROXY header and the ClientHello must be there.
    deadline: Instant,
    /// Settled when the PROXY header is read.
    ends: Ends,
}

/// A connection on which HTTP can be spoken, or whose bytes can be passed on.
enum Arrived<H> {
    Plain(Stream, Session<H>),
    Tls(Box<TlsStream<Prefixed<Stream>>>, Session<H>),
    Bytes(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Where the bytes of a connection go.
struct Bound {
    target: StreamTarget,
    chosen: Chosen,
    server_name: Option<String>,
}

/// What came of a ClientHello.
enum Opened {
    Http(Secure),
    /// TLS ends here.
    Ended(Secure, Bound),
    /// TLS ends at the backend.
    Passed(Stream, Arc<ListenerConfig>, Bound),
}

impl Greeting {
    fn listener(&self) -> &Arc<ListenerConfig> {
        match self {
            Self::Ours(hello) => &hello.listener,
            Self::Backends(_, _, listener) => listener,
        }
    }

    fn server_name(&self) -> Option<&str> {
        match self {
            Self::Ours(hello) => hello.server_name(),
            Self::Backends(_, name, _) => name.as_deref(),
        }
    }
}

/// Serves one accepted connection until its end.
pub(crate) async fn serve<H: Handler>(
    stream: TcpStream,
    tcp_peer: SocketAddr,
    config: Arc<PortConfig>,
    server: Server<H>,
    drain: Drain,
) {
    match arrive(stream, tcp_peer, config, server, drain).await {
        Some(Arrived::Plain(io, session)) => serve_connection(io, session).await,
        Some(Arrived::Tls(io, session)) => serve_connection(io, session).await,
        Some(Arrived::Bytes(passing)) => passing.await,
        None => {}
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
    let started = Instant::now();
    let arrival = Arrival {
        started,
        deadline: started + config.tcp.inspection_timeout,
        ends: Ends::of_tcp(tcp_peer, tcp_peer),
        open: Open::new(config.port, server.observer.clone(), &drain),
        config: config.clone(),
        server,
        drain,
    };
    match &config.transport {
        Transport::Plain(listener) => arrival.arrive_plain(stream, listener).await,
        // Both take much room, which is not for a connection to keep for life.
        Transport::Tls(_) | Transport::Mixed(_) => in_box(|| arrival.arrive_tls(stream)).await,
        Transport::Tcp(listener) => Box::pin(arrival.arrive_tcp(stream, listener)).await,
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

    async fn arrive_tcp(
        mut self,
        stream: TcpStream,
        listener: &ListenerConfig,
    ) -> Option<Arrived<H>> {
        if !self.open.admit(listener) {
            self.refuse(listener).await;
            return None;
        }
        let stream = self.read_proxy(stream).await?;
        let table = listener.streams.as_ref()?;
        let bound = self.bind(table, table.first(), None)?;
        self.pass(stream, listener, bound)
    }

    async fn arrive_tls(mut self, stream: TcpStream) -> Option<Arrived<H>> {
        let stream = self.read_proxy(stream).await?;
        match self.shake_hands(stream).await {
            Ok(Opened::Http(secure)) => {
                let session = self.session(&secure.listener, Some(secure.negotiated));
                return Some(Arrived::Tls(secure.stream, session));
            }
            Ok(Opened::Ended(secure, bound)) => {
                return self.pass(*secure.stream, &secure.listener, bound);
            }
            Ok(Opened::Passed(stream, listener, bound)) => {
                return self.pass(stream, &listener, bound);
            }
            Err(NotSecure::Failed(word)) => {
                self.note(&Event::TlsFailed(self.config.port, word));
            }
            Err(NotSecure::Surplus(greeting)) => {
                let listener = greeting.listener().clone();
                self.refuse(&listener).await;
                // It holds the socket, which is to be closed only now.
                drop(greeting);
            }
            Err(NotSecure::Draining | NotSecure::Refused) => {}
        }
        None
    }

    async fn shake_hands(&mut self, stream: Stream) -> Result<Opened, NotSecure> {
        let greeting = tokio::select! {
            biased;
            greeting = self.greet(stream) => greeting.map_err(NotSecure::Failed)?,
            () = self.drain.overdue() => return Err(NotSecure::Draining),
        };
        let listener = greeting.listener().clone();
        if !self.open.admit(&listener) {
            return Err(NotSecure::Surplus(greeting));
        }
        let bound = match &listener.streams {
            None => None,
            Some(table) => {
                let name = greeting.server_name();
                let bound = self.bind(table, table.find(name), name);
                Some(bound.ok_or(NotSecure::Refused)?)
            }
        };
        match (greeting, bound) {
            (Greeting::Ours(hello), None) => Ok(Opened::Http(self.answer(hello).await?)),
            (Greeting::Ours(hello), Some(bound)) => {
                Ok(Opened::Ended(self.answer(hello).await?, bound))
            }
            (Greeting::Backends(stream, ..), Some(bound)) => {
                Ok(Opened::Passed(stream, listener, bound))
            }
            (Greeting::Backends(..), None) => Err(NotSecure::Failed("no_tls_settings")),
        }
    }

    /// Does our part of the handshake.
    async fn answer(&self, hello: Box<tls::Hello<Prefixed<Stream>>>) -> Result<Secure, NotSecure> {
        let listener = hello.listener.clone();
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

    /// Finds where the bytes of a connection go. `None`: nowhere, which is told.
    fn bind(
        &self,
        table: &StreamTable,
        target: Option<&StreamTarget>,
        server_name: Option<&str>,
    ) -> Option<Bound> {
        let client = self.ends.peer.ip();
        let chosen = match target {
            Some(target) => target.rule.forwarder.choose(client, &[]),
            None => Err(Error::NoRoute),
        };
        match (target, chosen) {
            (Some(target), Ok(chosen)) => Some(Bound {
                target: target.clone(),
                chosen,
                server_name: server_name.map(str::to_owned),
            }),
            (target, chosen) => {
                let mut record = self.record(table, target, server_name);
                if let Err(error) = chosen {
                    record.note_error(&error);
                }
                None
            }
        }
    }

    fn record(
        &self,
        table: &StreamTable,
        target: Option<&StreamTarget>,
        server_name: Option<&str>,
    ) -> Record<H> {
        let listener = table.listener.clone();
        let handler = self.server.handler.clone();
        let (client, local) = (self.ends.peer, self.ends.local);
        let mut record = Record::new(handler, listener, client, local, self.started);
        record.entry.server_name = server_name.map(str::to_owned);
        record.entry.rule = target.map(StreamTarget::name);
        record
    }

    /// Passes the bytes of a connection on.
    fn pass(
        self,
        client: impl ClientSide + 'static,
        listener: &ListenerConfig,
        bound: Bound,
    ) -> Option<Arrived<H>> {
        let table = listener.streams.as_ref()?;
        let name = bound.server_name.as_deref();
        let age = listener.settings.limits.max_duration;
        let limits = Limits {
            idle: listener.settings.timeouts.idle,
            ends: age.and_then(|age| self.started.checked_add(age)),
        };
        let passage = Passage {
            record: self.record(table, Some(&bound.target), name),
            rule: bound.target.rule,
            chosen: bound.chosen,
            limits,
            observer: self.server.observer,
            drain: self.drain,
            open: self.open,
        };
        Some(Arrived::Bytes(Box::pin(pass(client, passage))))
    }

    /// Reads the PROXY header, if the port expects one. `None`: the connection is to be closed.
    async fn read_proxy(&mut self, mut stream: TcpStream) -> Option<Stream> {
        let config = self.config.clone();
        let Some(mode) = &config.tcp.proxy_protocol else {
            self.settle(&stream, None)?;
            return Some(Prefixed::new(stream, bytes::Bytes::new()));
        };
        // In this order: mostly the header is there, and nothing has to be set up to wait.
        let preamble = tokio::select! {
            biased;
            preamble = proxy::read(&mut stream, mode, self.deadline) => preamble,
            () = self.drain.overdue() => return None,
        };
        match preamble {
            Ok(preamble) => {
                self.settle(&stream, preamble.addresses)?;
                Some(Prefixed::new(stream, preamble.rest))
            }
            Err(error) => {
                self.note(&Event::ProxyRejected(config.port, error.reason()));
                None
            }
        }
    }

    /// Notes both ends: what a PROXY header says, else this end as the system says. `None`: the client
    /// has left already.
    fn settle(&mut self, stream: &TcpStream, addresses: Option<Addresses>) -> Option<()> {
        self.ends = match addresses {
            Some(_) => self.ends.replaced_by(addresses),
            None => Ends::of_tcp(self.ends.tcp_peer, stream.local_addr().ok()?),
        };
        Some(())
    }

    /// Reads the ClientHello, if the first bytes are those of TLS.
    async fn greet(&self, mut stream: Stream) -> Result<Greeting, &'static str> {
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
            [] => return Err("client_left"),
            _ if opening.is_tls() => {}
            _ if opening.is_http() => return Err("plain_http"),
            _ => return Err("no_tls"),
        }
        let stream = opening.put_back(stream);
        match &self.config.transport {
            Transport::Tls(listeners) => {
                let hello = tls::read_hello(stream, listeners, self.deadline).await?;
                Ok(Greeting::Ours(Box::new(hello)))
            }
            Transport::Mixed(listeners) => self.look(stream, listeners).await,
            Transport::Plain(_) | Transport::Tcp(_) => Err("no_tls_settings"),
        }
    }

    /// Finds out whether the ClientHello is for us, without answering it.
    async fn look(
        &self,
        mut stream: Prefixed<Stream>,
        listeners: &NameMap<Arc<ListenerConfig>>,
    ) -> Result<Greeting, &'static str> {
        let read = client_hello::read(&mut stream);
        let (bytes, name) = match tokio::time::timeout_at(self.deadline, read).await {
            Err(_) => return Err("client_hello_timeout"),
            Ok(result) => result?,
        };
        let found = listeners.find(name.as_deref().unwrap_or_default());
        let listener = found.ok_or("no_listener")?.clone();
        let (stream, put_back) = stream.into_parts();
        let mut bytes = bytes;
        bytes.extend_from_slice(&put_back);
        if listener.tls.is_some() {
            let stream = Prefixed::new(stream, bytes.freeze());
            let hello = tls::read_hello(stream, listeners, self.deadline).await?;
            return Ok(Greeting::Ours(Box::new(hello)));
        }
        let (tcp, rest) = stream.into_parts();
        bytes.extend_from_slice(&rest);
        let stream = Prefixed::new(tcp, bytes.freeze());
        Ok(Greeting::Backends(stream, name, listener))
    }

    fn session(self, listener: &ListenerConfig, tls: Option<Negotiated>) -> Session<H> {
        Session {
            proxy_expected: self.expects_proxy(),
            info: {
                let (slot, port) = (self.config.slot, self.config.port);
                Arc::new(ConnInfo::new(self.ends, slot, port, tls))
            },
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
