//! Session between a client and an endpoint.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::quota::QuotaPermit;
use super::socket::{DatagramSocket, Peer, try_recv};
use super::table::Expiring;
use crate::balance::LiveEndpoint;
use crate::observer::{Event, Observer};
use crate::plan::EndpointAddress;
use crate::stream::StreamRecord;
use crate::traffic::SessionPermit;

/// Maximum number of replies forwarded before the task yields.
const REPLIES_PER_POLL: usize = 32;

/// Maximum idle timeout. The limit prevents overflows when durations are added to instants.
const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(86400 * 365);

/// The side of a session between the gateway and the endpoint.
pub(super) struct DatagramSession {
    upstream: UdpSocket,
    node: Arc<LiveEndpoint>,
    idle_timeout: Duration,
    started: Instant,
    /// Time of the last datagram in either direction, in microseconds since `started`.
    last_use: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// Whether sending to the endpoint has failed.
    failed: AtomicBool,
}

/// Result of sending a datagram to an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SendOutcome {
    Sent,
    /// The datagram was dropped. Contains the reason for metrics.
    Dropped(&'static str),
    /// The endpoint rejects datagrams. The caller can try another endpoint.
    Dead,
}

impl DatagramSession {
    /// Opens a session with the endpoint `node`.
    pub(super) fn open(node: Arc<LiveEndpoint>, idle_timeout: Duration) -> io::Result<Self> {
        let Some(address) = node.address().ip_and_port() else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let upstream = std::net::UdpSocket::bind(any)?;
        upstream.connect(address)?;
        upstream.set_nonblocking(true)?;
        Ok(Self {
            upstream: UdpSocket::from_std(upstream)?,
            node,
            idle_timeout: idle_timeout.min(MAX_IDLE_TIMEOUT),
            started: Instant::now(),
            last_use: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// Whether the endpoint still exists and sending to it has not failed.
    pub(super) fn is_alive(&self) -> bool {
        !self.failed.load(Relaxed) && !self.node.is_removed()
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> &EndpointAddress {
        self.node.address()
    }

    /// Sends a datagram of the client to the endpoint.
    pub(super) fn send(&self, bytes: &[u8]) -> SendOutcome {
        // This code does not use the method `send` of tokio: it reports a new socket as not writable until
        // the socket's first event.
        match SockRef::from(&self.upstream).send(bytes) {
            Ok(_) => {
                self.record(&self.received, bytes.len());
                SendOutcome::Sent
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => SendOutcome::Dropped("upstream_full"),
                // The endpoint responded to an earlier datagram with the ICMP error port unreachable.
                io::ErrorKind::ConnectionRefused => SendOutcome::Dead,
                _ => SendOutcome::Dropped("upstream_error"),
            },
        }
    }

    fn record(&self, count: &AtomicU64, bytes: usize) {
        count.fetch_add(bytes as u64, Relaxed);
        let now = self.started.elapsed().as_micros() as u64;
        self.last_use.store(now, Relaxed);
    }

    /// Forwards replies until the endpoint fails.
    async fn forward_replies(&self, socket: &DatagramSocket, peer: &Peer) {
        while self.upstream.readable().await.is_ok() {
            for _ in 0..REPLIES_PER_POLL {
                let forwarded = try_recv(&self.upstream, |bytes| {
                    self.record(&self.sent, bytes.len());
                    // If the reply cannot be sent, it is lost, as UDP permits.
                    let _ = socket.send(bytes, peer);
                });
                match forwarded {
                    Ok(()) if self.is_alive() => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(()) | Err(_) => return self.failed.store(true, Relaxed),
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A session, the task that forwards its replies, and its record. The session table of a socket owns this
/// value.
pub(super) struct ClientSession {
    pub(super) session: Arc<DatagramSession>,
    replies: AbortHandle,
    record: StreamRecord,
    observer: Arc<dyn Observer>,
    port: u16,
    /// The permits are stored here and not in `session`, because the reply task may hold `session` for a
    /// short time after the session has ended.
    _permits: (SessionPermit, QuotaPermit),
}

impl ClientSession {
    /// Starts to forward replies to `peer`.
    pub(super) fn start(
        session: DatagramSession,
        socket: &Arc<DatagramSocket>,
        peer: Peer,
        mut record: StreamRecord,
        (observer, port): (Arc<dyn Observer>, u16),
        permits: (SessionPermit, QuotaPermit),
    ) -> Self {
        observer.observe(&Event::SessionOpened(port));
        record.entry.upstream_host = Some(session.endpoint().clone());
        record.entry.upstream_local = session.upstream.local_addr().ok();
        // These details are logged if the socket is closed before the session ends.
        record.entry.details = "local_close".into();
        let session = Arc::new(session);
        let replies = {
            let (session, socket) = (session.clone(), socket.clone());
            tokio::spawn(async move { session.forward_replies(&socket, &peer).await })
        };
        Self {
            session,
            replies: replies.abort_handle(),
            record,
            observer,
            port,
            _permits: permits,
        }
    }

    /// Address of the client.
    #[cfg(test)]
    pub(super) fn client(&self) -> SocketAddr {
        SocketAddr::new(self.record.entry.client, self.record.entry.client_port)
    }

    /// Ends the session with the response code details `reason`. Returns the endpoint.
    pub(super) fn end(mut self, reason: &'static str) -> EndpointAddress {
        self.record.entry.details = reason.into();
        self.session.endpoint().clone()
    }
}

impl Expiring for ClientSession {
    fn expires_at(&self) -> Instant {
        let session = &self.session;
        let last_use = Duration::from_micros(session.last_use.load(Relaxed));
        session.started + last_use + session.idle_timeout
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        self.replies.abort();
        let progress = &self.record.progress;
        let (received, sent) = (&self.session.received, &self.session.sent);
        progress.received.store(received.load(Relaxed), Relaxed);
        progress.sent.store(sent.load(Relaxed), Relaxed);
        self.observer.observe(&Event::SessionClosed(self.port));
    }
}
