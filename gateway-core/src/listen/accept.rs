//! The steps of an accepted connection before its protocol is served: PROXY header, TLS, route, connection
//! limit.
//!
//! If the port expects a PROXY header, no byte is written before the header is complete and valid.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;
use towergate_tls::NameMap;
use towergate_tls::acceptor::{Negotiated, TlsStream};

use super::config::{ListenerConfig, PortConfig, PortProtocol};
use super::server::Server;
use super::tls;
use crate::conn::preamble::{Preamble, report_unexpected_proxy};
use crate::conn::prefixed::Prefixed;
use crate::conn::proxy;
use crate::conn::{
    ConnInfo, ConnectionAddrs, ConnectionGuard, Drain, TlsFingerprints, client_hello,
};
use crate::error::Error;
use crate::observer::Event;
use crate::pin_boxed::pin_boxed_with;
use crate::proxy_protocol::Addresses;
use crate::serve::{ConnectionContext, Handler, serve_connection};
use crate::stream::copy::CopyLimits;
use crate::stream::{StreamRecord, StreamTable, StreamTarget, TcpProxy, proxy as proxy_stream};
use crate::traffic::SelectedEndpoint;

/// A connection after its PROXY header, if the port expects one, has been read.
type Stream = Prefixed<TcpStream>;

/// A connection with TLS terminated by the gateway.
struct TlsConnection {
    stream: Box<TlsStream<Prefixed<Stream>>>,
    negotiated: Negotiated,
    listener: Arc<ListenerConfig>,
}

/// A ClientHello to which no response has been sent, and the listener that it selects.
enum ClientHello {
    /// The gateway terminates TLS.
    Terminate(Box<tls::Hello<Prefixed<Stream>>>),
    /// The backend terminates TLS. The ClientHello is read again from the stream.
    Passthrough {
        stream: Stream,
        server_name: Option<String>,
        listener: Arc<ListenerConfig>,
        fingerprints: Option<Arc<TlsFingerprints>>,
    },
}

/// Reason why a TLS handshake did not complete.
enum HandshakeFailure {
    /// The handshake failed. Contains the reason for metrics.
    Failed(&'static str),
    /// The connection limit of the listener is reached. The connection is not closed yet.
    OverLimit(ClientHello),
    /// No ClientHello arrived before the grace period of the drain ended.
    Draining,
    /// No route or endpoint is available. The stream log already contains the entry of the connection.
    Unroutable,
}

/// An accepted connection whose protocol is not served yet.
struct PendingConnection<H> {
    server: Server<H>,
    config: Arc<PortConfig>,
    drain: Drain,
    guard: ConnectionGuard,
    started: Instant,
    /// Time at which the PROXY header and the ClientHello must be complete.
    deadline: Instant,
    /// Addresses of the connection. They are final once the PROXY header has been read.
    addrs: ConnectionAddrs,
    /// Fingerprints of the ClientHello. `None` until the ClientHello has been read, or if no fingerprint is
    /// configured.
    fingerprints: Option<Arc<TlsFingerprints>>,
}

/// A connection whose protocol can be served.
enum ReadyConnection<H> {
    Plain(Stream, ConnectionContext<H>),
    Tls(Box<TlsStream<Prefixed<Stream>>>, ConnectionContext<H>),
    Proxied(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// The route and endpoint of a TCP connection.
struct SelectedStream {
    target: StreamTarget,
    chosen: SelectedEndpoint,
    server_name: Option<String>,
}

/// Result of a TLS handshake, by protocol and by the side that terminates TLS.
enum HandshakeOutcome {
    Http(TlsConnection),
    Terminated(TlsConnection, SelectedStream),
    Passthrough(Stream, Arc<ListenerConfig>, SelectedStream),
}

impl ClientHello {
    fn listener(&self) -> &Arc<ListenerConfig> {
        match self {
            Self::Terminate(hello) => &hello.listener,
            Self::Passthrough { listener, .. } => listener,
        }
    }

    fn take_fingerprints(&mut self) -> Option<Arc<TlsFingerprints>> {
        match self {
            Self::Terminate(hello) => hello.fingerprints.take(),
            Self::Passthrough { fingerprints, .. } => fingerprints.take(),
        }
    }

    fn server_name(&self) -> Option<&str> {
        match self {
            Self::Terminate(hello) => hello.server_name(),
            Self::Passthrough { server_name, .. } => server_name.as_deref(),
        }
    }
}

/// Serves one accepted connection until it is closed.
pub(super) async fn serve<H: Handler>(
    stream: TcpStream,
    tcp_peer: SocketAddr,
    config: Arc<PortConfig>,
    server: Server<H>,
    drain: Drain,
    guard: ConnectionGuard,
) {
    match establish(stream, tcp_peer, config, server, drain, guard).await {
        Some(ReadyConnection::Plain(io, context)) => serve_connection(io, context).await,
        Some(ReadyConnection::Tls(io, context)) => serve_connection(io, context).await,
        Some(ReadyConnection::Proxied(proxying)) => proxying.await,
        None => {}
    }
}

/// Performs all steps before the protocol of a connection is served. `None` if the connection has been
/// closed.
async fn establish<H: Handler>(
    stream: TcpStream,
    tcp_peer: SocketAddr,
    config: Arc<PortConfig>,
    server: Server<H>,
    drain: Drain,
    guard: ConnectionGuard,
) -> Option<ReadyConnection<H>> {
    let started = Instant::now();
    let connection = PendingConnection {
        started,
        deadline: started + config.tcp.inspection_timeout,
        addrs: ConnectionAddrs::of_tcp(tcp_peer, tcp_peer),
        fingerprints: None,
        guard,
        config: config.clone(),
        server,
        drain,
    };
    match &config.protocol {
        PortProtocol::Plain(listener) => connection.establish_plain(stream, listener).await,
        // These futures are boxed, because they are large. The memory of a box is freed as soon as the future
        // has completed. Without the box, the memory would be occupied until the connection ends.
        PortProtocol::Tls(_) | PortProtocol::Mixed(_) => {
            pin_boxed_with(|| connection.establish_tls(stream)).await
        }
        PortProtocol::Tcp(listener) => Box::pin(connection.establish_tcp(stream, listener)).await,
    }
}

impl<H: Handler> PendingConnection<H> {
    async fn establish_plain(
        mut self,
        stream: TcpStream,
        listener: &ListenerConfig,
    ) -> Option<ReadyConnection<H>> {
        if !self.admit(listener) {
            self.delay_close(listener).await;
            return None;
        }
        let stream = self.read_proxy(stream).await?;
        let context = self.into_context(listener, None);
        Some(ReadyConnection::Plain(stream, context))
    }

    async fn establish_tcp(
        mut self,
        stream: TcpStream,
        listener: &ListenerConfig,
    ) -> Option<ReadyConnection<H>> {
        if !self.admit(listener) {
            self.delay_close(listener).await;
            return None;
        }
        let stream = self.read_proxy(stream).await?;
        let table = listener.streams.as_ref()?;
        let selected = self.select(table, table.first(), None).await?;
        self.into_proxied(stream, listener, selected)
    }

    async fn establish_tls(mut self, stream: TcpStream) -> Option<ReadyConnection<H>> {
        let stream = self.read_proxy(stream).await?;
        match self.shake_hands(stream).await {
            Ok(HandshakeOutcome::Http(tls)) => {
                let context = self.into_context(&tls.listener, Some(tls.negotiated));
                return Some(ReadyConnection::Tls(tls.stream, context));
            }
            Ok(HandshakeOutcome::Terminated(tls, selected)) => {
                return self.into_proxied(*tls.stream, &tls.listener, selected);
            }
            Ok(HandshakeOutcome::Passthrough(stream, listener, selected)) => {
                return self.into_proxied(stream, &listener, selected);
            }
            Err(HandshakeFailure::Failed(reason)) => {
                self.observe(&Event::TlsFailed(self.config.port, reason));
            }
            Err(HandshakeFailure::OverLimit(hello)) => {
                let listener = hello.listener().clone();
                self.delay_close(&listener).await;
                // `hello` owns the socket, so this drop closes the socket after the delay.
                drop(hello);
            }
            Err(HandshakeFailure::Draining | HandshakeFailure::Unroutable) => {}
        }
        None
    }

    /// Counts the connection for its listener. Returns `false` if the connection limit of the listener is
    /// reached.
    fn admit(&mut self, listener: &ListenerConfig) -> bool {
        let limit = listener.settings.limits.connections;
        self.guard.admit(&listener.connections, limit)
    }

    async fn shake_hands(&mut self, stream: Stream) -> Result<HandshakeOutcome, HandshakeFailure> {
        let mut hello = tokio::select! {
            biased;
            hello = self.read_hello(stream) => hello.map_err(HandshakeFailure::Failed)?,
            () = self.drain.overdue() => return Err(HandshakeFailure::Draining),
        };
        self.fingerprints = hello.take_fingerprints();
        let listener = hello.listener().clone();
        if !self.admit(&listener) {
            return Err(HandshakeFailure::OverLimit(hello));
        }
        let selected = match &listener.streams {
            None => None,
            Some(table) => {
                let name = hello.server_name();
                let selected = self.select(table, table.find(name), name).await;
                Some(selected.ok_or(HandshakeFailure::Unroutable)?)
            }
        };
        match (hello, selected) {
            (ClientHello::Terminate(hello), None) => {
                Ok(HandshakeOutcome::Http(self.terminate(hello).await?))
            }
            (ClientHello::Terminate(hello), Some(selected)) => {
                let tls = self.terminate(hello).await?;
                Ok(HandshakeOutcome::Terminated(tls, selected))
            }
            (ClientHello::Passthrough { stream, .. }, Some(selected)) => {
                Ok(HandshakeOutcome::Passthrough(stream, listener, selected))
            }
            (ClientHello::Passthrough { .. }, None) => {
                Err(HandshakeFailure::Failed("no_tls_settings"))
            }
        }
    }

    /// Completes the handshake of a connection for which the gateway terminates TLS.
    async fn terminate(
        &self,
        hello: Box<tls::Hello<Prefixed<Stream>>>,
    ) -> Result<TlsConnection, HandshakeFailure> {
        let listener = hello.listener.clone();
        let handshake = hello.shake_hands().await;
        let (stream, negotiated) = handshake.map_err(HandshakeFailure::Failed)?;
        let (version, resumed) = (negotiated.version, negotiated.resumed);
        let port = self.config.port;
        self.observe(&Event::TlsHandshake(port, &listener.id, version, resumed));
        Ok(TlsConnection {
            stream: Box::new(stream),
            negotiated,
            listener,
        })
    }

    /// Picks the endpoint of a connection to `target`. `None` if no route or endpoint is available; then this
    /// method has written the entry of the connection to the stream log.
    async fn select(
        &self,
        table: &StreamTable,
        target: Option<&StreamTarget>,
        server_name: Option<&str>,
    ) -> Option<SelectedStream> {
        let client = self.addrs.peer.ip();
        if target.is_some_and(|target| !target.rule.admits(client)) {
            self.record(table, target, server_name).set_denied();
            return None;
        }
        let chosen = match target {
            Some(target) => {
                let forwarder = &target.rule.forwarder;
                forwarder.select_by_name(client, server_name).await
            }
            None => Err(Error::NoRoute),
        };
        match (target, chosen) {
            (Some(target), Ok(chosen)) => Some(SelectedStream {
                target: target.clone(),
                chosen,
                server_name: server_name.map(str::to_owned),
            }),
            (target, chosen) => {
                let mut record = self.record(table, target, server_name);
                if let Err(error) = chosen {
                    record.set_error(&error);
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
    ) -> StreamRecord {
        let log = self.server.stream_log.clone();
        let listener = table.listener.clone();
        let (client, local) = (self.addrs.peer, self.addrs.local);
        let mut record = StreamRecord::new(log, listener, client, local, self.started);
        record.entry.server_name = server_name.map(str::to_owned);
        record.entry.fingerprints.clone_from(&self.fingerprints);
        record.entry.rule = target.map(StreamTarget::name);
        record
    }

    /// Creates the future that proxies the bytes of the connection.
    fn into_proxied(
        self,
        client: impl crate::stream::ClientStream + 'static,
        listener: &ListenerConfig,
        selected: SelectedStream,
    ) -> Option<ReadyConnection<H>> {
        let table = listener.streams.as_ref()?;
        let name = selected.server_name.as_deref();
        let max_duration = listener.settings.limits.max_duration;
        let limits = CopyLimits {
            idle: listener.settings.timeouts.idle,
            deadline: max_duration.and_then(|max| self.started.checked_add(max)),
        };
        let tcp_proxy = TcpProxy {
            record: self.record(table, Some(&selected.target), name),
            rule: selected.target.rule,
            chosen: selected.chosen,
            limits,
            observer: self.server.observer,
            drain: self.drain,
            guard: self.guard,
        };
        let proxying = Box::pin(proxy_stream(client, tcp_proxy));
        Some(ReadyConnection::Proxied(proxying))
    }

    /// Reads the PROXY header if the port expects one. `None` if the connection must be closed.
    async fn read_proxy(&mut self, mut stream: TcpStream) -> Option<Stream> {
        let config = self.config.clone();
        let Some(mode) = &config.tcp.proxy_protocol else {
            self.set_addrs(&stream, None)?;
            return Some(Prefixed::new(stream, bytes::Bytes::new()));
        };
        // The selection is biased, because in most cases the header is available at once and the drain need
        // not be polled.
        let preamble = tokio::select! {
            biased;
            preamble = proxy::read(&mut stream, mode, self.deadline) => preamble,
            () = self.drain.overdue() => return None,
        };
        match preamble {
            Ok(preamble) => {
                let trusted = mode.trusts(self.addrs.tcp_peer.ip());
                self.set_addrs(&stream, preamble.addresses.filter(|_| trusted))?;
                Some(Prefixed::new(stream, preamble.rest))
            }
            Err(error) => {
                self.observe(&Event::ProxyRejected(config.port, error.reason()));
                None
            }
        }
    }

    /// Sets the addresses of the connection: the addresses of the PROXY header or, without a header, the
    /// addresses of the socket. `None` if the client has closed the connection.
    fn set_addrs(&mut self, stream: &TcpStream, addresses: Option<Addresses>) -> Option<()> {
        self.addrs = match addresses {
            Some(_) => self.addrs.replaced_by(addresses),
            None => ConnectionAddrs::of_tcp(self.addrs.tcp_peer, stream.local_addr().ok()?),
        };
        Some(())
    }

    /// Reads the ClientHello. The error is a reason for metrics.
    async fn read_hello(&self, mut stream: Stream) -> Result<ClientHello, &'static str> {
        let mut preamble = Preamble::default();
        let read = preamble.read(&mut stream);
        match tokio::time::timeout_at(self.deadline, read).await {
            Err(_) => return Err("client_hello_timeout"),
            Ok(Err(_)) => return Err("client_left"),
            Ok(Ok(())) => {}
        }
        if let Some(version) = preamble.proxy_version()
            && !self.expects_proxy()
        {
            let (port, peer) = (self.config.port, self.addrs.tcp_peer);
            report_unexpected_proxy(&*self.server.observer, port, peer, version);
        }
        match preamble.as_slice() {
            [] => return Err("client_left"),
            _ if preamble.is_tls() => {}
            _ if preamble.is_http() => return Err("plain_http"),
            _ => return Err("no_tls"),
        }
        let stream = preamble.put_back(stream);
        match &self.config.protocol {
            PortProtocol::Tls(listeners) => {
                let hello = tls::read_hello(stream, listeners, self.deadline).await?;
                Ok(ClientHello::Terminate(Box::new(hello)))
            }
            PortProtocol::Mixed(listeners) => self.peek_hello(stream, listeners).await,
            PortProtocol::Plain(_) | PortProtocol::Tcp(_) => Err("no_tls_settings"),
        }
    }

    /// Reads the ClientHello on a port on which some backends terminate TLS. Nothing may be written before
    /// the listener is known, because the backend may have to respond.
    async fn peek_hello(
        &self,
        mut stream: Prefixed<Stream>,
        listeners: &NameMap<Arc<ListenerConfig>>,
    ) -> Result<ClientHello, &'static str> {
        let read = client_hello::read(&mut stream);
        let (mut bytes, name) = match tokio::time::timeout_at(self.deadline, read).await {
            Err(_) => return Err("client_hello_timeout"),
            Ok(result) => result?,
        };
        let found = listeners.find(name.as_deref().unwrap_or_default());
        let listener = found.ok_or("no_listener")?.clone();
        let fingerprints =
            TlsFingerprints::of(&bytes, listener.settings.fingerprints).map(Arc::new);
        let (stream, unread) = stream.into_parts();
        bytes.extend_from_slice(&unread);
        if listener.tls.is_some() {
            let stream = Prefixed::new(stream, bytes.freeze());
            let mut hello = tls::read_hello(stream, listeners, self.deadline).await?;
            hello.fingerprints = fingerprints;
            return Ok(ClientHello::Terminate(Box::new(hello)));
        }
        let (tcp, unread) = stream.into_parts();
        bytes.extend_from_slice(&unread);
        Ok(ClientHello::Passthrough {
            stream: Prefixed::new(tcp, bytes.freeze()),
            server_name: name,
            listener,
            fingerprints,
        })
    }

    fn into_context(
        self,
        listener: &ListenerConfig,
        tls: Option<Negotiated>,
    ) -> ConnectionContext<H> {
        ConnectionContext {
            expects_proxy: self.expects_proxy(),
            info: {
                let (slot, port) = (self.config.slot, self.config.port);
                let mut info = ConnInfo::new(self.addrs, slot, port, tls);
                info.fingerprints = self.fingerprints;
                Arc::new(info)
            },
            settings: listener.settings.clone(),
            handler: self.server.handler,
            observer: self.server.observer,
            drain: self.drain,
            guard: self.guard,
        }
    }

    /// Waits for the configured delay before a connection over the limit is closed. The delay prevents the
    /// client from reconnecting at once.
    async fn delay_close(self, listener: &ListenerConfig) {
        let delay = listener.settings.limits.close_delay.unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.drain.started() => {}
        }
    }

    fn expects_proxy(&self) -> bool {
        self.config.tcp.proxy_protocol.is_some()
    }

    fn observe(&self, event: &Event<'_>) {
        self.server.observer.observe(event);
    }
}
