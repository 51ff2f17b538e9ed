//! Serving one socket of a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::room::{Quota, Room, Seat};
use super::session::{Client, Outcome, Session};
use super::socket::{Peer, Socket};
use super::table::Table;
use super::{Assignment, DatagramConfig};
use crate::conn::{Server, sleep_until};
use crate::error::Error;
use crate::observer::Event;
use crate::serve::Handler;
use crate::stream::Record;

/// The most sessions of a socket.
const BOUND: usize = 65_536;
/// Datagrams taken in a row before others get their turn.
const TURN: usize = 64;

/// Serves the clients of a socket until it is told to stop.
pub(crate) async fn serve<H: Handler>(assignment: Assignment, server: Server<H>) {
    let Assignment {
        socket,
        config,
        stop,
    } = assignment;
    let socket = match Socket::new(socket) {
        Ok(socket) => Arc::new(socket),
        Err(error) => return tracing::error!(%error, "a UDP socket cannot be served"),
    };
    let mut port = Port {
        socket: socket.clone(),
        config,
        server,
        sessions: Table::default(),
        bound: BOUND,
        seat: Room::of_process().seat(),
    };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep_until(port.sessions.next_due()) => port.expire(),
            _ = socket.readable() => port.take_some(),
        }
    }
}

struct Port<H: Handler> {
    socket: Arc<Socket>,
    config: Arc<ArcSwap<DatagramConfig>>,
    server: Server<H>,
    sessions: Table<Peer, Client<H>>,
    bound: usize,
    seat: Seat,
}

impl<H: Handler> Port<H> {
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(client) = self.sessions.expired(now) {
            let _ = client.end("idle_timeout");
        }
    }

    fn take_some(&mut self) {
        let socket = self.socket.clone();
        for _ in 0..TURN {
            // What fails here is about one datagram, or there is none.
            if socket
                .try_recv(|peer, bytes| self.take(peer, bytes))
                .is_err()
            {
                return;
            }
        }
    }

    /// Sends a datagram to its client's endpoint.
    fn take(&mut self, peer: Peer, bytes: &[u8]) {
        let sent = match self.sessions.get(&peer) {
            Some(client) if client.session.is_alive() => client.session.send(bytes),
            Some(_) => Outcome::Dead,
            None => self.begin(peer, bytes, &[]),
        };
        let sent = match sent {
            Outcome::Dead => {
                let client = self.sessions.remove(&peer);
                let dead = client.map(|client| client.end("upstream_gone"));
                self.begin(peer, bytes, dead.as_slice())
            }
            sent => sent,
        };
        match sent {
            Outcome::Sent => {}
            Outcome::Dropped(why) => self.note_dropped(why),
            Outcome::Dead => self.note_dropped("upstream_error"),
        }
    }

    /// Begins a session with its first datagram, with none of the endpoints in `dead` if there is another.
    fn begin(&mut self, peer: Peer, bytes: &[u8], dead: &[SocketAddr]) -> Outcome {
        let client = match self.open(peer, dead) {
            Ok(client) => client,
            Err(why) => return Outcome::Dropped(why),
        };
        let sent = client.session.send(bytes);
        if let Some(before) = self.sessions.insert(peer, client) {
            before.end("replaced");
        }
        sent
    }

    /// A session for a new client; the word says why there is none.
    fn open(&mut self, peer: Peer, dead: &[SocketAddr]) -> Result<Client<H>, &'static str> {
        let config = self.config.load_full();
        let target = config.target.as_ref().ok_or("no_route")?;
        let forwarder = &target.rule.forwarder;
        let chosen = forwarder.choose(peer.client.ip(), dead).map_err(word_for)?;
        if self.sessions.len() >= self.bound {
            self.evict();
        }
        let quota = self.quota();
        let quota = quota.or_else(|| self.evict().then(|| self.quota())?);
        let quota = quota.ok_or("too_many_sessions")?;
        let reserved = forwarder.reserve(&chosen);
        let reserved = reserved.or_else(|| self.evict().then(|| forwarder.reserve(&chosen))?);
        let Some(reserved) = reserved else {
            if let Some(id) = forwarder.backend(&chosen) {
                self.server.observer.observe(&Event::Overflowed(id));
            }
            return Err("overflow");
        };
        let session = Session::open(reserved.node().clone(), config.idle_timeout);
        let session = session.map_err(|_| "no_socket")?;
        let mut record = Record::new(
            self.server.handler.clone(),
            config.listener.clone(),
            peer.client,
            self.socket.local(&peer),
            Instant::now(),
        );
        record.entry.rule = Some(target.name());
        let told = (self.server.observer.clone(), config.port);
        let counted = (reserved, quota);
        let client = Client::start(session, &self.socket, peer, record, told, counted);
        Ok(client)
    }

    fn quota(&self) -> Option<Quota> {
        self.seat.take(self.sessions.len())
    }

    /// Makes room for another session, if there is any.
    fn evict(&mut self) -> bool {
        let oldest = self.sessions.oldest();
        oldest.map(|client| client.end("evicted")).is_some()
    }

    fn note_dropped(&self, why: &'static str) {
        let port = self.config.load().port;
        self.server
            .observer
            .observe(&Event::DatagramDropped(port, why));
    }
}

fn word_for(error: Error) -> &'static str {
    match error {
        Error::InvalidBackend | Error::InvalidShare => "invalid_backend",
        Error::NoHealthyEndpoint => "no_healthy_upstream",
        _ => "no_endpoint",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::Directory;
    use crate::datagram::socket::bind;
    use crate::gateway::{Gateway, Options};
    use crate::plan::ListenerId;
    use crate::router::Router;
    use crate::snapshot::Live;
    use crate::stream::tests::{endpoints, eventually, simple};
    use crate::stream::{StreamRule, StreamTarget};

    /// A socket for three sessions with this endpoint.
    fn port(endpoint: SocketAddr) -> Port<Router> {
        let live = Live::default();
        let directory = Directory::of(&live);
        directory.update(&endpoints(&[("a", &[endpoint])]));
        let rule = StreamRule::as_is(&simple("a"), &live, &towergate_tls::default_provider());
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
            socket: Arc::new(Socket::new(bind(LOCALHOST.into()).unwrap()).unwrap()),
            config: Arc::new(ArcSwap::from_pointee(config)),
            server: Server {
                handler: Gateway::new(Options::default()).router(),
                observer: Arc::new(()),
            },
            sessions: Table::default(),
            bound: 3,
            seat: Room::new(9, 0).seat(),
        }
    }

    #[tokio::test]
    async fn a_flood_at_one_socket_does_not_keep_clients_of_another_out() {
        let backend = std::net::UdpSocket::bind(LOCALHOST).unwrap();
        let room = Room::new(2, 2);
        let [mut flooded, mut other] = [(); 2].map(|()| Port {
            seat: room.seat(),
            ..port(backend.local_addr().unwrap())
        });
        let send = async |port: &mut Port<Router>| {
            let client = std::net::UdpSocket::bind(LOCALHOST).unwrap();
            client.send_to(b"x", port.socket.address()).unwrap();
            port.socket.readable().await.unwrap();
            port.take_some();
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
            "it gives back what is too much"
        );
        assert_eq!(send(&mut other).await, 1);
    }

    const LOCALHOST: std::net::SocketAddrV4 =
        std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);

    #[tokio::test]
    async fn a_socket_has_no_more_sessions_than_its_bound() {
        let backend = std::net::UdpSocket::bind(LOCALHOST).unwrap();
        let mut port = port(backend.local_addr().unwrap());
        let address = port.socket.address();

        // Each client is silent after its first datagram, but the first one.
        let clients = [(); 6].map(|()| std::net::UdpSocket::bind(LOCALHOST).unwrap());
        for (n, client) in clients.iter().enumerate() {
            for client in [client, &clients[0]] {
                // Times are in microseconds.
                tokio::time::sleep(Duration::from_millis(2)).await;
                client.send_to(b"x", address).unwrap();
                port.socket.readable().await.unwrap();
                port.take_some();
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
        while let Some(client) = port.sessions.oldest() {
            left.push(client.client());
        }
        let expected = [4, 5, 0].map(|n: usize| clients[n].local_addr().unwrap());
        assert_eq!(left, expected, "the first was never silent for long");
    }
}
