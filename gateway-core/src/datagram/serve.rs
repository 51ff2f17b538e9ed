//! Serves one UDP socket of a worker.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::quota::{QuotaPermit, SessionQuota, SocketQuota};
use super::session::{ClientSession, DatagramSession, SendOutcome};
use super::socket::{DatagramSocket, Peer};
use super::table::SessionTable;
use super::{DatagramAssignment, DatagramConfig};
use crate::error::Error;
use crate::observer::{Event, Observer};
use crate::plan::EndpointAddress;
use crate::stream::{StreamLog, StreamRecord};

/// Maximum number of sessions of a socket.
const MAX_SESSIONS: usize = 65_536;
/// Maximum number of datagrams received before the task yields.
const DATAGRAMS_PER_POLL: usize = 64;

/// Serves the clients of a socket until its assignment is cancelled.
pub(crate) async fn serve(
    assignment: DatagramAssignment,
    log: Arc<dyn StreamLog>,
    observer: Arc<dyn Observer>,
) {
    let DatagramAssignment {
        socket,
        config,
        stop,
    } = assignment;
    let socket = match DatagramSocket::new(socket) {
        Ok(socket) => Arc::new(socket),
        Err(error) => {
            return tracing::error!(%error, "registering a UDP socket with the runtime failed");
        }
    };
    let mut port = Port {
        socket: socket.clone(),
        config,
        log,
        observer,
        sessions: SessionTable::default(),
        max_sessions: MAX_SESSIONS,
        quota: SessionQuota::of_process().add_socket(),
    };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep_until(port.sessions.next_check()) => port.expire(),
            _ = socket.readable() => port.receive(),
        }
    }
}

struct Port {
    socket: Arc<DatagramSocket>,
    config: Arc<ArcSwap<DatagramConfig>>,
    log: Arc<dyn StreamLog>,
    observer: Arc<dyn Observer>,
    sessions: SessionTable<Peer, ClientSession>,
    max_sessions: usize,
    quota: SocketQuota,
}

impl Port {
    /// Ends idle sessions.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(client) = self.sessions.take_expired(now) {
            let _ = client.end("idle_timeout");
        }
    }

    /// Receives and forwards the available datagrams.
    fn receive(&mut self) {
        let socket = self.socket.clone();
        for _ in 0..DATAGRAMS_PER_POLL {
            // An error affects only one datagram, or means that no datagram is available.
            if socket
                .try_recv(|peer, bytes| self.forward(peer, bytes))
                .is_err()
            {
                return;
            }
        }
    }

    /// Forwards a datagram to the endpoint of its session.
    fn forward(&mut self, peer: Peer, bytes: &[u8]) {
        let sent = match self.sessions.get(&peer) {
            Some(client) if client.session.is_alive() => client.session.send(bytes),
            Some(_) => SendOutcome::Dead,
            None => self.begin(peer, bytes, &[]),
        };
        let sent = match sent {
            SendOutcome::Dead => {
                let client = self.sessions.remove(&peer);
                let dead = client.map(|client| client.end("upstream_gone"));
                self.begin(peer, bytes, dead.as_slice())
            }
            sent => sent,
        };
        match sent {
            SendOutcome::Sent => {}
            SendOutcome::Dropped(reason) => self.report_drop(reason),
            SendOutcome::Dead => self.report_drop("upstream_error"),
        }
    }

    /// Begins a session with its first datagram. Endpoints in `dead` are picked only if no other endpoint is
    /// available.
    fn begin(&mut self, peer: Peer, bytes: &[u8], dead: &[EndpointAddress]) -> SendOutcome {
        let client = match self.open(peer, dead) {
            Ok(client) => client,
            Err(reason) => return SendOutcome::Dropped(reason),
        };
        let sent = client.session.send(bytes);
        if let Some(before) = self.sessions.insert(peer, client) {
            before.end("replaced");
        }
        sent
    }

    /// Opens a session for a new client. The error is a reason for metrics.
    fn open(
        &mut self,
        peer: Peer,
        dead: &[EndpointAddress],
    ) -> Result<ClientSession, &'static str> {
        let config = self.config.load_full();
        let target = config.target.as_ref().ok_or("no_route")?;
        if !target.rule.admits(peer.client.ip()) {
            return Err("denied");
        }
        let forwarder = &target.rule.forwarder;
        let chosen = forwarder
            .select_endpoint(peer.client.ip(), dead)
            .map_err(drop_reason)?;
        if self.sessions.len() >= self.max_sessions {
            self.evict();
        }
        let permit = self.acquire_permit();
        let permit = permit.or_else(|| self.evict().then(|| self.acquire_permit())?);
        let permit = permit.ok_or("too_many_sessions")?;
        let reserved = forwarder.reserve_session(&chosen);
        let reserved =
            reserved.or_else(|| self.evict().then(|| forwarder.reserve_session(&chosen))?);
        let Some(reserved) = reserved else {
            if let Some(id) = forwarder.backend(&chosen) {
                self.observer.observe(&Event::Overflowed(id));
            }
            return Err("overflow");
        };
        let session = DatagramSession::open(reserved.endpoint().clone(), config.idle_timeout);
        let session = session.map_err(|_| "no_socket")?;
        let mut record = StreamRecord::new(
            self.log.clone(),
            config.listener.clone(),
            peer.client,
            self.socket.local(&peer),
            Instant::now(),
        );
        record.entry.rule = Some(target.name());
        let metrics = (self.observer.clone(), config.port);
        let permits = (reserved, permit);
        let client = ClientSession::start(session, &self.socket, peer, record, metrics, permits);
        Ok(client)
    }

    fn acquire_permit(&self) -> Option<QuotaPermit> {
        self.quota.acquire(self.sessions.len())
    }

    /// Ends the least recently used session. Returns `false` if there is no session.
    fn evict(&mut self) -> bool {
        let oldest = self.sessions.take_oldest();
        oldest.map(|client| client.end("evicted")).is_some()
    }

    fn report_drop(&self, reason: &'static str) {
        let port = self.config.load().port;
        self.observer.observe(&Event::DatagramDropped(port, reason));
    }
}

/// Waits until `deadline`. If there is no deadline, the future never completes.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The reason for metrics if a datagram is dropped because of `error`.
fn drop_reason(error: Error) -> &'static str {
    match error {
        Error::InvalidBackend | Error::InvalidShare => "invalid_backend",
        Error::NoHealthyEndpoint => "no_healthy_upstream",
        _ => "no_endpoint",
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::balance::Clusters;
    use crate::datagram::socket::bind;
    use crate::live::Live;
    use crate::plan::ListenerId;
    use crate::stream::tests::{endpoints, eventually, simple};
    use crate::stream::{StreamRule, StreamTarget};

    /// A socket with a limit of three sessions, whose datagrams are routed to `endpoint`.
    fn port(endpoint: SocketAddr) -> Port {
        let live = Live::default();
        let directory = Clusters::of(&live);
        directory.update(&endpoints(&[("a", &[endpoint])]));
        let rule = StreamRule::passthrough(&simple("a"), &live, &towergate_tls::default_provider());
        let config = DatagramConfig {
            port: 0,
            listener: Arc::new(ListenerId::default()),
            idle_timeout: Duration::from_secs(60),
            target: Some(StreamTarget {
                rule: Arc::new(rule),
                hostname: "*".into(),
            }),
        };
        Port {
            socket: Arc::new(DatagramSocket::new(bind(LOCALHOST.into()).unwrap()).unwrap()),
            config: Arc::new(ArcSwap::from_pointee(config)),
            log: Arc::new(()),
            observer: Arc::new(()),
            sessions: SessionTable::default(),
            max_sessions: 3,
            quota: SessionQuota::new(9, 0).add_socket(),
        }
    }

    #[tokio::test]
    async fn a_flood_on_one_socket_does_not_exclude_clients_of_another() {
        let backend = std::net::UdpSocket::bind(LOCALHOST).unwrap();
        let quota = SessionQuota::new(2, 2);
        let [mut flooded, mut other] = [(); 2].map(|()| Port {
            quota: quota.add_socket(),
            ..port(backend.local_addr().unwrap())
        });
        let send = async |port: &mut Port| {
            let client = std::net::UdpSocket::bind(LOCALHOST).unwrap();
            client.send_to(b"x", port.socket.address()).unwrap();
            port.socket.readable().await.unwrap();
            port.receive();
            port.sessions.len()
        };
        let mut had = Vec::new();
        for _ in 0..4 {
            had.push(send(&mut flooded).await);
        }
        assert_eq!(had, [1, 2, 2, 2]);

        assert_eq!(send(&mut other).await, 1);
        assert_eq!(
            send(&mut flooded).await,
            1,
            "the socket closes sessions above its own part"
        );
        assert_eq!(send(&mut other).await, 1);
    }

    const LOCALHOST: std::net::SocketAddrV4 =
        std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);

    #[tokio::test]
    async fn a_socket_has_at_most_its_maximum_number_of_sessions() {
        let backend = std::net::UdpSocket::bind(LOCALHOST).unwrap();
        let mut port = port(backend.local_addr().unwrap());
        let address = port.socket.address();

        // Each client sends one datagram. In addition, the first client sends a datagram after each other
        // client.
        let clients = [(); 6].map(|()| std::net::UdpSocket::bind(LOCALHOST).unwrap());
        for (n, client) in clients.iter().enumerate() {
            for client in [client, &clients[0]] {
                // The test waits, so that the times of last use differ: their resolution is one microsecond.
                tokio::time::sleep(Duration::from_millis(2)).await;
                client.send_to(b"x", address).unwrap();
                port.socket.readable().await.unwrap();
                port.receive();
            }
            assert_eq!(port.sessions.len(), (n + 1).min(3));
        }

        let mut received = 0;
        backend.set_nonblocking(true).unwrap();
        eventually(|| {
            received += usize::from(backend.recv(&mut [0; 9]).is_ok());
            received == 12
        })
        .await;
        let mut left = Vec::new();
        while let Some(client) = port.sessions.take_oldest() {
            left.push(client.client());
        }
        let expected = [4, 5, 0].map(|n: usize| clients[n].local_addr().unwrap());
        assert_eq!(left, expected, "the first client was never idle");
    }
}
