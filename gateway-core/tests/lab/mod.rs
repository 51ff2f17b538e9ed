//! A whole gateway in the test process. Its client sends arbitrary bytes, and its backend accepts only strict
//! HTTP/1.1.
//!
//! Everything runs on one thread. With a paused clock, time advances only when all tasks are idle, so a
//! client that has waited for [`QUIET`] has received everything.
//!
//! Invariants for all input ([`Talk::check`], [`Lab::serves`]):
//!
//! 1. Each request that the backend receives is strictly valid, so it has only one interpretation.
//! 2. The backend does not receive more requests than the client receives responses.
//! 3. The gateway still serves other clients.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, reason = "shared by test files, and by a fuzz target")]

pub mod strict;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strict::Reading;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use towergate_core::access_log::{AccessLog, Entry};
use towergate_core::conn::{ConnInfo, ConnectionAddrs, ConnectionGuard};
use towergate_core::gateway::{Gateway, Options};
use towergate_core::plan::{
    Backend, BackendId, BackendProtocol, Destination, Endpoint, Endpoints, Listener, ListenerId,
    ListenerSettings, Match, Plan, Port, Protocol, Route, RouteId, RouteKind, Rule, TcpSettings,
    Traffic, WeightedBackend,
};
use towergate_core::serve::{ConnectionContext, serve_connection};
use towergate_tls::NamePattern;

/// If no byte arrives for this time, no more bytes will arrive.
pub const QUIET: Duration = Duration::from_millis(200);

/// Length of the body of `/big`, in bytes.
pub const BIG: usize = 4 << 20;
/// A chunk of the body of `/big`.
const PIECE: [u8; 16 << 10] = [b'x'; 16 << 10];

/// A gateway with a backend.
pub struct Lab {
    gateway: Gateway,
    settings: Arc<ListenerSettings>,
    seen: Arc<Mutex<Seen>>,
    records: Arc<Records>,
}

/// Status, flags and details of each record since the last [`Lab::talk`]. Status 0 means that there was no
/// response.
#[derive(Debug, Default)]
struct Records(Mutex<Vec<(u16, String, String)>>);

impl Records {
    fn take(&self) -> Vec<(u16, String, String)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AccessLog for Records {
    fn write(&self, entry: &Entry) {
        let status = entry.status.map_or(0, |status| status.as_u16());
        let record = (status, entry.flags.to_string(), entry.details.to_string());
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(record);
    }
}

/// Requests that the backend received, and errors in what it received.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Vec<u8>>,
    faults: Vec<String>,
}

/// Result of one connection.
#[derive(Debug)]
pub struct Talk {
    /// Bytes that the client received.
    pub received: Vec<u8>,
    /// Complete requests that the backend received.
    pub requests: Vec<Vec<u8>>,
    /// Descriptions of received bytes that are not strict HTTP/1.1.
    pub faults: Vec<String>,
}

impl Lab {
    /// A gateway with one HTTP port without TLS, default settings, and one rule for all requests.
    pub async fn new() -> Self {
        Self::with(ListenerSettings::default()).await
    }

    /// As [`Self::new`], with the given settings instead of the defaults.
    pub async fn with(settings: ListenerSettings) -> Self {
        let settings = Arc::new(settings);
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("its address");
        let records = Arc::<Records>::default();
        let gateway = Gateway::new(Options::default().access_log(records.clone()));
        gateway
            .apply(&plan(&settings))
            .expect("a plan that can run");
        let endpoint = Endpoint::from(address);
        gateway.set_endpoints(&Endpoints::from([(backend_id(), vec![endpoint])]));
        let seen = Arc::default();
        tokio::spawn(serve_backend(socket, Arc::clone(&seen)));
        Self {
            gateway,
            settings,
            seen,
            records,
        }
    }

    /// Opens a connection to the gateway.
    pub fn connect(&self) -> DuplexStream {
        let (client, io) = tokio::io::duplex(1 << 20);
        let observer: Arc<dyn towergate_core::observer::Observer> = Arc::new(());
        let drain = self.gateway.drain().clone();
        let peer = SocketAddr::from(([192, 0, 2, 1], 1234));
        let context = ConnectionContext {
            info: {
                let addrs = ConnectionAddrs::of_tcp(peer, SocketAddr::from(([192, 0, 2, 2], 80)));
                Arc::new(ConnInfo::new(addrs, 0, 80, None))
            },
            settings: self.settings.clone(),
            handler: self.gateway.router(),
            observer: observer.clone(),
            guard: ConnectionGuard::new(80, observer, &drain),
            drain,
            expects_proxy: false,
        };
        tokio::spawn(serve_connection(io, context));
        client
    }

    /// Sends `bytes` on a new connection and reads until no more bytes arrive.
    pub async fn talk(&self, bytes: &[u8]) -> Talk {
        *self.seen() = Seen::default();
        self.records.take();
        let mut client = self.connect();
        // The result is ignored, because the gateway may close the connection before it has read all bytes.
        let _ = tokio::time::timeout(QUIET, client.write_all(bytes)).await;
        let received = rest(&mut client).await;
        drop(client);
        tokio::time::sleep(QUIET).await;
        let Seen { requests, faults } = std::mem::take(&mut *self.seen());
        Talk {
            received,
            requests,
            faults,
        }
    }

    /// Number of requests that the backend has received since the last [`Self::talk`].
    pub fn forwarded(&self) -> usize {
        self.seen().requests.len()
    }

    /// The requests that the backend has received since the last [`Self::talk`].
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.seen().requests.clone()
    }

    /// Takes status, flags and details of each record since the last [`Self::talk`]. Status 0 means that
    /// there was no response.
    pub fn records(&self) -> Vec<(u16, String, String)> {
        self.records.take()
    }

    /// Whether a request of another client is served.
    pub async fn serves(&self) -> bool {
        let talk = self
            .talk(b"GET /bystander HTTP/1.1\r\nHost: b.test\r\n\r\n")
            .await;
        talk.received.starts_with(b"HTTP/1.1 200") && talk.requests.len() == 1
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Talk {
    /// Statuses of the final responses. Bodies contain no text that could be taken for a status line.
    pub fn statuses(&self) -> Vec<u16> {
        let heads = self
            .received
            .windows(12)
            .filter(|text| text.starts_with(b"HTTP/1."));
        let digits = heads.filter_map(|text| std::str::from_utf8(&text[9..]).ok());
        let statuses = digits.filter_map(|digits| digits.parse().ok());
        statuses.filter(|status| *status >= 200).collect()
    }

    /// Panics if the backend received an invalid request, or more requests than the client received
    /// responses.
    pub fn check(&self, sent: &[u8]) {
        let sent = sent.escape_ascii();
        assert!(
            self.faults.is_empty(),
            "sent: {sent}\nforwarded: {:?}",
            self.faults
        );
        let (seen, answered) = (self.requests.len(), self.statuses().len());
        assert!(
            seen <= answered,
            "sent: {sent}\n{seen} requests, {answered} answers: {}",
            self.received.escape_ascii()
        );
    }
}

/// Reads until no more bytes arrive.
pub async fn rest(client: &mut DuplexStream) -> Vec<u8> {
    let mut received = Vec::new();
    while let Ok(Ok(1..)) = tokio::time::timeout(QUIET, client.read_buf(&mut received)).await {}
    received
}

async fn serve_backend(socket: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = socket.accept().await {
        tokio::spawn(answer_requests(stream, seen.clone()));
    }
}

/// Responds to each complete request with 200. The response to `/big` has [`BIG`] bytes, and there is no
/// response to `/wait`. Closes the connection at the first invalid request.
async fn answer_requests(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut bytes = Vec::new();
    loop {
        match strict::read(&bytes) {
            Reading::Partial => match stream.read_buf(&mut bytes).await {
                Ok(1..) => continue,
                _ => return,
            },
            Reading::Fault(fault) => {
                let text = format!("{fault}: {}", bytes.escape_ascii());
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                return seen.faults.push(text);
            }
            Reading::Request(length) => {
                let request: Vec<u8> = bytes.drain(..length).collect();
                let waits = request.starts_with(b"GET /wait ");
                let length = body_length(&request);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .requests
                    .push(request);
                if waits {
                    continue;
                }
                let body = std::iter::repeat_n(&PIECE[..], length / PIECE.len());
                for piece in std::iter::once(head.as_bytes()).chain(body) {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn body_length(request: &[u8]) -> usize {
    match request.split(|byte| *byte == b' ').nth(1) {
        Some(b"/big") => BIG,
        _ => 0,
    }
}

fn backend_id() -> BackendId {
    BackendId::service("lab", "backend", 80)
}

fn plan(settings: &Arc<ListenerSettings>) -> Plan {
    let route = Arc::new(RouteId {
        kind: RouteKind::Http,
        namespace: "lab".to_owned(),
        name: "all".to_owned(),
    });
    let backend = Backend {
        id: backend_id(),
        protocol: BackendProtocol::Http1,
        tls: None,
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    };
    let rule = Rule {
        route: route.clone(),
        index: 0,
        name: None,
        matches: vec![Match::default()],
        policies: Vec::new(),
        filters: Vec::new(),
        traffic: Arc::new(Traffic::default()),
        backends: vec![WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(Arc::new(backend)),
        }],
        respond: None,
    };
    let route = Route {
        id: route,
        hostnames: vec![NamePattern::Any],
        written_hostnames: Vec::new(),
        rules: vec![Arc::new(rule)],
    };
    let listener = Listener {
        id: ListenerId::default(),
        port: 80,
        hostname: NamePattern::Any,
        protocol: Protocol::Http,
        settings: settings.clone(),
        routes: vec![Arc::new(route)],
        streams: Vec::new(),
        failed: false,
    };
    Plan {
        ports: vec![Port {
            addresses: Vec::new(),
            port: 80,
            tcp: TcpSettings::default(),
            listeners: vec![listener],
        }],
        ..Plan::default()
    }
}
