//! Reads the PROXY header at the start of a connection, before TLS and HTTP.
//!
//! [`read`] is what the gateway uses. [`ProxyAcceptor`] is the same for a service that is embedded
//! elsewhere, with the two things that the protocol asks for and Envoy Gateway does not offer: only
//! known senders are listened to, and there is always a time limit. [`ProxyListener`] accepts with it,
//! and [`EndsLayer`] hands the addresses to the requests of a connection.
//!
//! Not one byte is written, and none is passed on, before a whole, valid header. A second header is
//! not looked for: its bytes belong to the client, and are no HTTP.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tower_layer::Layer;
use tower_service::Service;

use super::prefixed::Prefixed;
use crate::proxy_protocol::ProxyProtocol;
use crate::proxy_protocol::{Addresses, Error, Invalid, Tlvs, decode};

/// Bytes after the fixed part of version 2: all that its length can say. A head of HTTP may be as long.
const LIMIT: u16 = u16::MAX;
/// Room made for more of a header: what its length promises is not believed before it comes.
const MORE: usize = 4096;
/// Bytes for the first read: room for nearly every header, and for what follows at once.
const FIRST_READ: usize = 512;

/// What stood at the start of a connection.
#[derive(Clone, Debug)]
pub struct Preamble {
    /// The addresses that replace those of the TCP connection; `None`: keep them.
    pub addresses: Option<Addresses>,
    /// The header as sent; empty if there was none.
    pub header: Bytes,
    /// Bytes after the header that were read with it.
    pub rest: Bytes,
}

impl Preamble {
    /// The further fields of a version 2 header.
    pub fn tlvs(&self) -> Tlvs<'_> {
        decode(&self.header, u16::MAX).map_or(Tlvs::EMPTY, |decoded| decoded.header.tlvs)
    }
}

/// Why a connection must be closed, without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The sender is not one that may name clients.
    #[error("the sender is not trusted")]
    Untrusted,
    /// No header within the time.
    #[error("no PROXY header in time")]
    Timeout,
    /// The connection ended before the header did.
    #[error("closed before the end of the PROXY header")]
    Closed,
    /// Something else than a header, where one is required.
    #[error("no PROXY header")]
    Absent,
    /// A broken header.
    #[error("invalid PROXY header: {0}")]
    Invalid(#[from] Invalid),
    /// The connection failed.
    #[error("reading the PROXY header")]
    Io(#[from] io::Error),
}

impl ProxyError {
    /// The word for logs and metrics, which never changes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Absent => "absent",
            Self::Invalid(invalid) => invalid.reason(),
            Self::Io(_) => "io",
        }
    }
}

/// Reads the header from `io`, of any length. What was not sent takes no memory.
/// If `mode` says that it is optional, bytes that fit neither signature are left to the client.
///
/// # Errors
/// See [`ProxyError`]; the connection must be closed. That is also so in optional mode for a header
/// that starts like one and is broken, and for silence, as in Envoy: nobody could tell whose the
/// connection is.
pub async fn read<Io: AsyncRead + Unpin>(
    io: &mut Io,
    mode: &ProxyProtocol,
    deadline: Instant,
) -> Result<Preamble, ProxyError> {
    let mut reading = pin!(read_untimed(io, mode));
    // Mostly the header came with the connection: then no timer is made.
    if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
        return read;
    }
    timeout_at(deadline, reading)
        .await
        .unwrap_or(Err(ProxyError::Timeout))
}

async fn read_untimed<Io: AsyncRead + Unpin>(
    io: &mut Io,
    mode: &ProxyProtocol,
) -> Result<Preamble, ProxyError> {
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    loop {
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(ProxyError::Closed);
        }
        let (len, addresses) = match decode(&bytes, LIMIT) {
            Ok(decoded) => (decoded.len, decoded.header.addresses()),
            Err(Error::Incomplete { needed }) => {
                bytes.reserve(needed.min(MORE));
                continue;
            }
            Err(Error::Absent) if mode.optional => (0, None),
            Err(Error::Absent) => return Err(ProxyError::Absent),
            Err(Error::Invalid(invalid)) => return Err(invalid.into()),
        };
        let header = bytes.split_to(len).freeze();
        return Ok(Preamble {
            addresses,
            header,
            rest: bytes.freeze(),
        });
    }
}

/// Both ends of a client's connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ends {
    /// The other end of the TCP connection: the load balancer, if there is one.
    pub tcp_peer: SocketAddr,
    /// The client, as the PROXY header says, else `tcp_peer`. IPv4-mapped addresses are IPv4 here.
    pub peer: SocketAddr,
    /// What the client connected to, as the PROXY header says, else this end of the TCP connection.
    pub local: SocketAddr,
}

impl Ends {
    /// The ends of a TCP connection without a PROXY header.
    pub fn of_tcp(tcp_peer: SocketAddr, local: SocketAddr) -> Self {
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Self {
            tcp_peer: canonical(tcp_peer),
            peer: canonical(tcp_peer),
            local: canonical(local),
        }
    }

    /// The same, with the addresses of a header.
    #[must_use]
    pub fn replaced_by(self, addresses: Option<Addresses>) -> Self {
        match addresses {
            None => self,
            Some(addresses) => Self {
                peer: addresses.source,
                local: addresses.destination,
                ..self
            },
        }
    }
}

/// Takes PROXY headers from known senders.
///
/// There is no way to build one that takes an optional header from anyone: then every client could
/// claim to be any other.
#[derive(Clone, Debug)]
pub struct ProxyAcceptor {
    senders: Option<Vec<IpNet>>,
    mode: ProxyProtocol,
    timeout: Duration,
}

impl ProxyAcceptor {
    /// The shortest time limit: the header may have been lost once and sent again.
    pub const SHORTEST_TIMEOUT: Duration = Duration::from_secs(3);

    /// Every connection must come from one of `senders` and begin with a header.
    pub fn required(senders: Vec<IpNet>) -> Self {
        Self {
            senders: Some(senders),
            mode: ProxyProtocol { optional: false },
            timeout: Duration::from_secs(10),
        }
    }

    /// Every connection must begin with a header. For ports that only the load balancer can reach.
    pub fn required_from_anyone() -> Self {
        Self {
            senders: None,
            ..Self::required(Vec::new())
        }
    }

    /// Every connection must come from one of `senders`, with or without a header. What does not
    /// begin like a header is the sender's own.
    pub fn optional(senders: Vec<IpNet>) -> Self {
        Self {
            mode: ProxyProtocol { optional: true },
            ..Self::required(senders)
        }
    }

    /// How long a header may take, 10 s if not said; never less than [`Self::SHORTEST_TIMEOUT`].
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: timeout.max(Self::SHORTEST_TIMEOUT),
            ..self
        }
    }

    /// Whether headers of this sender count.
    pub fn trusts(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical();
        match &self.senders {
            None => true,
            Some(senders) => senders.iter().any(|net| net.contains(&sender)),
        }
    }

    /// Reads the header of a fresh connection.
    ///
    /// # Errors
    /// The connection must be closed. One of an untrusted sender is closed unread.
    pub async fn accept<Io: AsyncRead + Unpin>(
        &self,
        mut io: Io,
        tcp_peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<(Prefixed<Io>, Ends), ProxyError> {
        if !self.trusts(tcp_peer.ip()) {
            return Err(ProxyError::Untrusted);
        }
        let preamble = read(&mut io, &self.mode, Instant::now() + self.timeout).await?;
        let ends = Ends::of_tcp(tcp_peer, local).replaced_by(preamble.addresses);
        Ok((Prefixed::new(io, preamble.rest), ends))
    }
}

/// Accepts TCP connections and reads their PROXY headers, many at a time, so that a slow sender does
/// not keep others waiting.
#[derive(Debug)]
pub struct ProxyListener {
    listener: TcpListener,
    acceptor: Arc<ProxyAcceptor>,
    pending: JoinSet<Result<(Prefixed<TcpStream>, Ends), ProxyError>>,
}

impl ProxyListener {
    /// Connections whose header is being read; more wait in the queue of the socket.
    pub const PENDING: usize = 1024;

    /// Accepts from `listener`.
    pub fn new(listener: TcpListener, acceptor: ProxyAcceptor) -> Self {
        Self {
            listener,
            acceptor: Arc::new(acceptor),
            pending: JoinSet::new(),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As [`TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection with a valid header. Those without are closed and logged. May be dropped
    /// before it is ready, without losing a connection.
    pub async fn accept(&mut self) -> (Prefixed<TcpStream>, Ends) {
        loop {
            tokio::select! {
                Some(done) = self.pending.join_next() => match done {
                    Ok(Ok(accepted)) => return accepted,
                    Ok(Err(error)) => tracing::debug!(%error, "connection closed"),
                    Err(error) => tracing::error!(%error, "reading a PROXY header"),
                },
                accepted = self.listener.accept(), if self.pending.len() < Self::PENDING => {
                    match accepted {
                        Ok((stream, peer)) => self.begin(stream, peer),
                        Err(error) => {
                            // Mostly too many open files: trying again at once would only spin.
                            tracing::warn!(%error, "accepting a connection");
                            sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let acceptor = self.acceptor.clone();
        self.pending.spawn(async move {
            let local = stream.local_addr()?;
            acceptor.accept(stream, peer, local).await
        });
    }
}

/// Puts the [`Ends`] of a connection into the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct EndsLayer(pub Ends);

impl<S> Layer<S> for EndsLayer {
    type Service = EndsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EndsService {
            ends: self.0,
            inner,
        }
    }
}

/// What [`EndsLayer`] makes of a service.
#[derive(Clone, Copy, Debug)]
pub struct EndsService<S> {
    ends: Ends,
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for EndsService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        req.extensions_mut().insert(self.ends);
        self.inner.call(req)
    }
}

#[cfg(test)]
mod tests;
