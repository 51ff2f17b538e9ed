//! A client and its endpoint.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::room::Quota;
use super::socket::{Peer, Socket, try_recv};
use super::table::Mortal;
use crate::balance::Node;
use crate::observer::{Event, Observer};
use crate::serve::Handler;
use crate::stream::Record;
use crate::traffic::Reserved;

/// Answers passed on in a row before others get their turn.
const TURN: usize = 32;

/// The longest time of silence: sums of times must not overflow.
const FAR: Duration = Duration::from_secs(86400 * 365);

/// One client's way to its endpoint.
pub(super) struct Session {
    upstream: UdpSocket,
    node: Arc<Node>,
    idle_timeout: Duration,
    started: Instant,
    /// When something was last said, in microseconds since the start.
    last: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// The endpoint takes nothing.
    failed: AtomicBool,
}

/// What became of a datagram for the endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Sent,
    /// The word says why it was dropped.
    Dropped(&'static str),
    /// The endpoint takes nothing: another one may.
    Dead,
}

impl Session {
    /// A session with this endpoint.
    pub(super) fn open(node: Arc<Node>, idle_timeout: Duration) -> io::Result<Self> {
        let address = node.address();
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
            idle_timeout: idle_timeout.min(FAR),
            started: Instant::now(),
            last: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// Whether the endpoint is there and takes datagrams, as far as is known.
    pub(super) fn is_alive(&self) -> bool {
        !self.failed.load(Relaxed) && !self.node.is_gone()
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> SocketAddr {
        self.node.address()
    }

    /// Sends a datagram of the client to the endpoint.
    pub(super) fn send(&self, bytes: &[u8]) -> Outcome {
        // Not by tokio, which has yet to learn that a new socket can be written to.
        match SockRef::from(&self.upstream).send(bytes) {
            Ok(_) => {
                self.note(&self.received, bytes.len());
                Outcome::Sent
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Outcome::Dropped("upstream_full"),
                // The answer of the system there to the datagram before.
                io::ErrorKind::ConnectionRefused => Outcome::Dead,
                _ => Outcome::Dropped("upstream_error"),
            },
        }
    }

    fn note(&self, count: &AtomicU64, bytes: usize) {
        count.fetch_add(bytes as u64, Relaxed);
        let now = self.started.elapsed().as_micros() as u64;
        self.last.store(now, Relaxed);
    }

    /// Passes answers on until the endpoint fails.
    async fn pass_replies(&self, socket: &Socket, peer: &Peer) {
        while self.upstream.readable().await.is_ok() {
            for _ in 0..TURN {
                let passed = try_recv(&self.upstream, |bytes| {
                    self.note(&self.sent, bytes.len());
                    // An answer that cannot be sent is lost, as on any way of a datagram.
                    let _ = socket.send(bytes, peer);
                });
                match passed {
                    Ok(()) if self.is_alive() => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(()) | Err(_) => return self.failed.store(true, Relaxed),
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A session with all that belongs to it, as the table of a socket has it.
pub(super) struct Client<H: Handler> {
    pub(super) session: Arc<Session>,
    replies: AbortHandle,
    record: Record<H>,
    observer: Arc<dyn Observer>,
    port: u16,
    /// Not the session's, which its task may keep for a moment longer than this.
    _counted: (Reserved, Quota),
}

impl<H: Handler> Client<H> {
    /// Starts to pass answers on to `peer`.
    pub(super) fn start(
        session: Session,
        socket: &Arc<Socket>,
        peer: Peer,
        mut record: Record<H>,
        (observer, port): (Arc<dyn Observer>, u16),
        counted: (Reserved, Quota),
    ) -> Self {
        observer.observe(&Event::SessionOpened(port));
        record.entry.upstream_host = Some(session.endpoint());
        record.entry.upstream_local = session.upstream.local_addr().ok();
        // What stands if the socket is closed before the session ends.
        record.entry.details = "local_close".into();
        let session = Arc::new(session);
        let replies = {
            let (session, socket) = (session.clone(), socket.clone());
            tokio::spawn(async move { session.pass_replies(&socket, &peer).await })
        };
        Self {
            session,
            replies: replies.abort_handle(),
            record,
            observer,
            port,
            _counted: counted,
        }
    }

    /// Whose session it is.
    #[cfg(test)]
    pub(super) fn client(&self) -> SocketAddr {
        SocketAddr::new(self.record.entry.client, self.record.entry.client_port)
    }

    /// Ends the session, for the reason that the word says; gives its endpoint.
    pub(super) fn end(mut self, why: &'static str) -> SocketAddr {
        self.record.entry.details = why.into();
        self.session.endpoint()
    }
}

impl<H: Handler> Mortal for Client<H> {
    fn due(&self) -> Instant {
        let session = &self.session;
        let last = Duration::from_micros(session.last.load(Relaxed));
        session.started + last + session.idle_timeout
    }
}

impl<H: Handler> Drop for Client<H> {
    fn drop(&mut self) {
        self.replies.abort();
        let progress = &self.record.progress;
        let (received, sent) = (&self.session.received, &self.session.sent);
        progress.received.store(received.load(Relaxed), Relaxed);
        progress.sent.store(sent.load(Relaxed), Relaxed);
        self.observer.observe(&Event::SessionClosed(self.port));
    }
}
