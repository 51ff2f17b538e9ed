//! What happens to an accepted connection until HTTP is spoken: PROXY header, TLS, limits.
//!
//! Nothing is written before the PROXY header, if one is expected, is complete and valid.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::drain::Drain;
use super::io::{Opening, Reopened, read_opening};
use super::listener::Service;
use super::{ConnInfo, ListenerConfig, Open, PortConfig, TlsInfo, Transport};
use super::{sleep_until, tls, warn_unexpected_proxy};
use crate::observer::Event;
use crate::serve::{Handler, Session, serve_connection};

/// A connection on its way.
struct Arrival<H> {
    service: Service<H>,
    config: Arc<PortConfig>,
    drain: Drain,
    open: Open,
    deadline: Instant,
    addresses: Addresses,
}

/// Who is connected to what.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    tcp_peer: SocketAddr,
    peer: SocketAddr,
    local: SocketAddr,
}

/// Serves one accepted connection until its end.
pub(crate) async fn serve<H: Handler>(
    stream: TcpStream,
    tcp_peer: SocketAddr,
    config: Arc<PortConfig>,
    service: Service<H>,
    drain: Drain,
) {
    let open = Open::new(config.port, service.observer.clone(), &drain);
    let Ok(local) = stream.local_addr() else {
        return; // The client has left already.
    };
    let tcp_peer = canonical(tcp_peer);
    let arrival = Arrival {
        deadline: Instant::now() + config.tcp.inspection_timeout,
        addresses: Addresses {
            tcp_peer,
            peer: tcp_peer,
            local: canonical(local),
        },
        service,
        config,
        drain,
        open,
    };
    let drain = arrival.drain.clone();
    match &arrival.config.clone().transport {
        Transport::Plain(listener) => arrival.serve_plain(stream, listener).await,
        Transport::Tls(_) => arrival.serve_tls(stream, &drain).await,
    }
}

impl<H: Handler> Arrival<H> {
    async fn serve_plain(mut self, stream: TcpStream, listener: &Arc<ListenerConfig>) {
        if !self.open.admit(listener) {
            return self.refuse(listener).await;
        }
        let Some(stream) = self.read_proxy(stream).await else {
            return;
        };
        self.serve_http(stream, listener, None).await;
    }

    async fn serve_tls(mut self, stream: TcpStream, drain: &Drain) {
        let Some(stream) = self.read_proxy(stream).await else {
            return;
        };
        let start = tokio::select! {
            start = self.start_tls(stream) => start,
            () = drain.started() => return,
        };
        let hello = match start {
            Ok(hello) => hello,
            Err(word) => return self.note(&Event::TlsFailed(self.config.port, word)),
        };
        let listener = hello.listener.clone();
        if !self.open.admit(&listener) {
            return self.refuse(&listener).await;
        }
        match hello.shake_hands().await {
            Ok((stream, info, resumed)) => {
                self.note(&Event::TlsHandshake(&listener.id, info.version, resumed));
                self.serve_http(stream, &listener, Some(info)).await;
            }
            Err(word) => self.note(&Event::TlsFailed(self.config.port, word)),
        }
    }

    /// Reads the ClientHello, if the first bytes are those of TLS.
    async fn start_tls<Io>(&self, mut io: Io) -> Result<tls::Hello<Reopened<Io>>, &'static str>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let Transport::Tls(listeners) = &self.config.transport else {
            return Err("no_tls_settings");
        };
        let mut opening = Opening::default();
        let read = read_opening(&mut io, &mut opening, false);
        match tokio::time::timeout_at(self.deadline, read).await {
            Err(_) => return Err("client_hello_timeout"),
            Ok(Err(_)) => return Err("client_left"),
            Ok(Ok(())) => {}
        }
        if let Some(version) = opening.proxy_version().filter(|_| !self.proxy_expected()) {
            let (port, peer) = (self.config.port, self.addresses.tcp_peer);
            self.note(&Event::UnexpectedProxyHeader(port, peer));
            warn_unexpected_proxy(port, peer, version);
        }
        match opening.as_slice() {
            [] => Err("client_left"),
            _ if opening.is_tls() => {
                tls::read_hello(Reopened::new(opening, io), listeners, self.deadline).await
            }
            _ if opening.is_http() => Err("plain_http"),
            _ => Err("no_tls"),
        }
    }

    async fn serve_http<Io>(self, io: Io, listener: &ListenerConfig, tls: Option<TlsInfo>)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let proxy_expected = self.proxy_expected();
        let info = Arc::new(ConnInfo {
            tcp_peer: self.addresses.tcp_peer,
            peer: self.addresses.peer,
            local: self.addresses.local,
            port: self.config.port,
            tls,
        });
        let session = Session {
            info,
            settings: listener.settings.clone(),
            handler: self.service.handler,
            observer: self.service.observer,
            drain: self.drain,
            open: self.open,
            proxy_expected,
        };
        serve_connection(io, session).await;
    }

    /// Reads the PROXY header that the port expects.
    async fn read_proxy(&mut self, stream: TcpStream) -> Option<TcpStream> {
        if !self.proxy_expected() {
            return Some(stream);
        }
        self.note(&Event::ProxyRejected(self.config.port, "unsupported"));
        None
    }

    /// Keeps a surplus connection for a while, so that its client does not come back at once.
    async fn refuse(self, listener: &ListenerConfig) {
        let delay = listener.settings.limits.close_delay.unwrap_or_default();
        tokio::select! {
            () = sleep_until(Some(Instant::now() + delay)) => {}
            () = self.drain.started() => {}
        }
    }

    fn proxy_expected(&self) -> bool {
        self.config.tcp.proxy_protocol.is_some()
    }

    fn note(&self, event: &Event<'_>) {
        self.service.observer.observe(event);
    }
}

/// An IPv4-mapped IPv6 address is the IPv4 one.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}
