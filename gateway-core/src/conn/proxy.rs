//! PROXY protocol at the start of a connection, before TLS and HTTP.
//!
//! The gateway uses [`read`]. Programs that embed the gateway use [`ProxyAcceptor`], which has two additional
//! safeguards: only trusted senders may send a header, and there is always a time limit. The protocol
//! requires both safeguards, but Envoy Gateway does not offer them. [`ProxyListener`] accepts connections
//! with a [`ProxyAcceptor`]. [`ConnectionAddrsLayer`](super::ConnectionAddrsLayer) adds the addresses of a
//! connection to its requests.
//!
//! No byte is written or forwarded before the header is complete and valid. Only one header is parsed. A
//! second header is treated as data of the client, and is not valid HTTP.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::ConnectionAddrs;
use super::prefixed::Prefixed;
use crate::proxy_protocol::ProxyProtocol;
use crate::proxy_protocol::{Addresses, Error, Invalid, Tlvs, decode};

/// Maximum length of a version 2 header after its fixed part, in bytes. This is the maximum value of the
/// length field.
const LIMIT: u16 = u16::MAX;
/// Maximum buffer growth per read, in bytes. The limit prevents a false length field from occupying much
/// memory.
const MORE: usize = 4096;
/// Size of the first read, in bytes. It is sufficient for most headers and the data that follows them.
const FIRST_READ: usize = 512;

/// The PROXY header of a connection, and the bytes that were read together with the header.
#[derive(Clone, Debug)]
pub struct ProxyPreamble {
    /// Addresses that replace those of the TCP connection. `None`: the addresses of the TCP connection are
    /// kept.
    pub addresses: Option<Addresses>,
    /// The header as received. Empty if there was none.
    pub header: Bytes,
    /// Bytes that follow the header and were read together with it.
    pub rest: Bytes,
}

impl ProxyPreamble {
    /// The TLVs of a version 2 header.
    pub fn tlvs(&self) -> Tlvs<'_> {
        decode(&self.header, u16::MAX).map_or(Tlvs::EMPTY, |decoded| decoded.header.tlvs)
    }
}

/// Reason why a connection must be closed without a reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The sender is not trusted to send PROXY headers.
    #[error("the sender is not trusted")]
    Untrusted,
    /// The header was not complete within the time limit.
    #[error("timed out reading the PROXY header")]
    Timeout,
    /// The connection was closed before the header was complete.
    #[error("connection closed within the PROXY header")]
    Closed,
    /// A header is required, but the connection does not begin with one.
    #[error("PROXY header missing")]
    Absent,
    /// The header is malformed.
    #[error("invalid PROXY header: {0}")]
    Invalid(#[from] Invalid),
    /// The connection failed.
    #[error("reading the PROXY header failed")]
    Io(#[from] io::Error),
}

impl ProxyError {
    /// The reason of the failure, for logs and metrics. It is stable across releases.
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

/// Reads a header of any length from `io`. The memory use depends on the number of received bytes and not on
/// the length that the header states. In optional mode, bytes that match neither signature are treated as
/// data of the client.
///
/// # Errors
/// See [`ProxyError`]. The connection must be closed. In optional mode, a malformed header is also an error,
/// and so is a timeout, as in Envoy: in both cases the client's address is unknown.
pub async fn read<Io: AsyncRead + Unpin>(
    io: &mut Io,
    mode: &ProxyProtocol,
    deadline: Instant,
) -> Result<ProxyPreamble, ProxyError> {
    let mut reading = pin!(read_untimed(io, mode));
    // The header is first polled without a timer, because most headers are available at once.
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
) -> Result<ProxyPreamble, ProxyError> {
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
        return Ok(ProxyPreamble {
            addresses,
            header,
            rest: bytes.freeze(),
        });
    }
}

/// Reads PROXY headers of trusted senders.
///
/// Headers cannot be optional for untrusted senders, because every client could then forge its address.
#[derive(Clone, Debug)]
pub struct ProxyAcceptor {
    senders: Option<Vec<IpNet>>,
    mode: ProxyProtocol,
    timeout: Duration,
}

impl ProxyAcceptor {
    /// Minimum time limit. It is long enough for one TCP retransmission of the header.
    pub const SHORTEST_TIMEOUT: Duration = Duration::from_secs(3);

    /// Creates an acceptor that requires every connection to come from one of `senders` and to begin with a
    /// header.
    pub fn required(senders: Vec<IpNet>) -> Self {
        Self {
            senders: Some(senders),
            mode: ProxyProtocol::default(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Creates an acceptor that requires every connection to begin with a header. It is intended for ports
    /// that only the load balancer can reach.
    pub fn required_from_anyone() -> Self {
        Self {
            senders: None,
            ..Self::required(Vec::new())
        }
    }

    /// Creates an acceptor that requires every connection to come from one of `senders`, with or without a
    /// header. If there is no header, the sender is the client.
    pub fn optional(senders: Vec<IpNet>) -> Self {
        Self {
            mode: ProxyProtocol {
                optional: true,
                trusted: None,
            },
            ..Self::required(senders)
        }
    }

    /// Sets the time limit of the header. Default: 10 s; minimum: [`Self::SHORTEST_TIMEOUT`].
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: timeout.max(Self::SHORTEST_TIMEOUT),
            ..self
        }
    }

    /// Whether `sender` is trusted to send headers.
    pub fn trusts(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical();
        match &self.senders {
            None => true,
            Some(senders) => senders.iter().any(|net| net.contains(&sender)),
        }
    }

    /// Reads the header of a new connection.
    ///
    /// # Errors
    /// See [`ProxyError`]. The connection must be closed. Nothing is read from an untrusted sender.
    pub async fn accept<Io: AsyncRead + Unpin>(
        &self,
        mut io: Io,
        tcp_peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<(Prefixed<Io>, ConnectionAddrs), ProxyError> {
        if !self.trusts(tcp_peer.ip()) {
            return Err(ProxyError::Untrusted);
        }
        let preamble = read(&mut io, &self.mode, Instant::now() + self.timeout).await?;
        let addrs = ConnectionAddrs::of_tcp(tcp_peer, local).replaced_by(preamble.addresses);
        Ok((Prefixed::new(io, preamble.rest), addrs))
    }
}

/// Accepts TCP connections and reads their PROXY headers concurrently, so that a slow sender does not delay
/// other senders.
#[derive(Debug)]
pub struct ProxyListener {
    listener: TcpListener,
    acceptor: Arc<ProxyAcceptor>,
    pending: JoinSet<Result<(Prefixed<TcpStream>, ConnectionAddrs), ProxyError>>,
}

impl ProxyListener {
    /// Maximum number of connections whose header is being read. Further connections remain in the accept
    /// queue.
    pub const PENDING: usize = 1024;

    /// Creates a listener that accepts connections from `listener`.
    pub fn new(listener: TcpListener, acceptor: ProxyAcceptor) -> Self {
        Self {
            listener,
            acceptor: Arc::new(acceptor),
            pending: JoinSet::new(),
        }
    }

    /// The local address.
    ///
    /// # Errors
    /// The errors of [`TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the next connection with a valid header. Connections without a valid header are closed and
    /// logged. The method is cancel safe: no connection is lost if the future is dropped.
    pub async fn accept(&mut self) -> (Prefixed<TcpStream>, ConnectionAddrs) {
        loop {
            tokio::select! {
                Some(done) = self.pending.join_next() => match done {
                    Ok(Ok(accepted)) => return accepted,
                    Ok(Err(error)) => tracing::debug!(%error, "closing connection without a valid PROXY header"),
                    Err(error) => tracing::error!(%error, "task reading a PROXY header failed"),
                },
                accepted = self.listener.accept(), if self.pending.len() < Self::PENDING => {
                    match accepted {
                        Ok((stream, peer)) => self.begin(stream, peer),
                        Err(error) => {
                            // The usual cause of the error is that the process has too many open files. An
                            // immediate retry would fail again and use processor time.
                            tracing::warn!(%error, "accepting a connection failed");
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

#[cfg(test)]
mod tests;
