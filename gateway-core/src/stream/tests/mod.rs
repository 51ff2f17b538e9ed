//! Tests over real sockets: a gateway between clients and backends that exchange bytes.

mod ends;
mod plain;
mod tls;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use towergate_tls::NamePattern;

use super::{StreamRule, StreamTable};
use crate::access_log::{AccessLog, Entry};
use crate::gateway::{Gateway, Options};
use crate::live::Live;
use crate::observer::{Event, Observer};
use crate::plan::{
    Backend, BackendId, BackendProtocol, Destination, Endpoint, Endpoints, Listener, Plan, Port,
    Protocol, RouteId, RouteKind, StreamRoute, Traffic, WeightedBackend,
};
use crate::policy::NoPolicy;

/// Time limit of every wait in tests.
const SOON: Duration = Duration::from_secs(20);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Awaits `future` for at most [`SOON`].
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("in time")
}

/// Waits until `condition` holds, at most [`SOON`].
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(wait).await;
}

/// Records log entries and events.
#[derive(Default)]
pub(crate) struct Log {
    entries: Mutex<Vec<Entry>>,
    events: Mutex<Vec<String>>,
}

impl AccessLog for Log {
    fn write(&self, entry: &Entry) {
        self.entries.lock().unwrap().push(entry.clone());
    }
}

impl Observer for Log {
    fn observe(&self, event: &Event<'_>) {
        self.events.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Log {
    /// Waits for an entry, which must be the only one.
    pub(crate) async fn entry(&self) -> Entry {
        eventually(|| !self.entries.lock().unwrap().is_empty()).await;
        let mut entries = self.entries.lock().unwrap();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    }

    /// Waits for the entry of the client with this port.
    pub(crate) async fn entry_of(&self, port: u16) -> Entry {
        let find = || {
            let entries = self.entries.lock().unwrap();
            entries.iter().find(|e| e.client_port == port).cloned()
        };
        eventually(|| find().is_some()).await;
        find().unwrap()
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event.contains(text)).count()
    }
}

/// A gateway with one worker.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) log: Arc<Log>,
}

impl Rig {
    pub(crate) fn new(plan: &Plan, endpoints: &Endpoints) -> Self {
        let log = Arc::new(Log::default());
        let gateway = Gateway::new(Options {
            access_log: Some(log.clone()),
            observer: Some(log.clone()),
            ..Options::default()
        });
        gateway.start(1).unwrap();
        gateway.set_endpoints(endpoints);
        gateway.apply(plan).unwrap();
        Self { gateway, log }
    }

    /// The only listening address.
    fn address(&self) -> SocketAddr {
        *self.gateway.listening().first().unwrap()
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address())).await.unwrap()
    }
}

fn listener(name: &str, protocol: Protocol, streams: Vec<StreamRoute>) -> Listener {
    let mut listener = Listener::http("n", "g", 0, Vec::new());
    listener.id.listener = name.to_owned();
    listener.hostname = name.parse().unwrap_or(NamePattern::Any);
    listener.protocol = protocol;
    listener.streams = streams.into_iter().map(Arc::new).collect();
    listener
}

/// A plan with one port on localhost. The system selects the port number.
fn plan(listeners: Vec<Listener<NoPolicy>>) -> Plan {
    let mut port = Port::new(0, listeners);
    port.addresses = vec![LOCALHOST];
    Plan {
        ports: vec![port],
        ..Plan::default()
    }
}

fn tcp(routes: Vec<StreamRoute>) -> Plan {
    plan(vec![listener("tcp", Protocol::Tcp, routes)])
}

/// A route with these hostnames and backends.
pub(crate) fn route(name: &str, hostnames: &[&str], backends: Vec<WeightedBackend>) -> StreamRoute {
    StreamRoute {
        id: Arc::new(RouteId {
            kind: RouteKind::Tcp,
            namespace: "n".to_owned(),
            name: name.to_owned(),
        }),
        rule: None,
        hostnames: hostnames.iter().map(|name| name.parse().unwrap()).collect(),
        written_hostnames: Vec::new(),
        traffic: Arc::new(Traffic::default()),
        backends,
        access: None,
    }
}

pub(crate) fn with_traffic(mut route: StreamRoute, edit: impl FnOnce(&mut Traffic)) -> StreamRoute {
    edit(Arc::make_mut(&mut route.traffic));
    route
}

pub(crate) fn id(name: &str) -> BackendId {
    BackendId::service("n", name, 80)
}

pub(crate) fn weighted(weight: u32, destination: Destination) -> WeightedBackend {
    WeightedBackend {
        weight,
        filters: Vec::new(),
        destination,
    }
}

pub(crate) fn to(name: &str) -> Destination {
    Destination::Backend(Arc::new(Backend {
        id: id(name),
        protocol: BackendProtocol::Http1,
        tls: None,
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    }))
}

/// A route for all hostnames to one backend.
pub(crate) fn simple(name: &str) -> StreamRoute {
    route(name, &["*"], vec![weighted(1, to(name))])
}

pub(crate) fn endpoints(all: &[(&str, &[SocketAddr])]) -> Endpoints {
    let endpoint = |address: &SocketAddr| Endpoint::from(*address);
    let each = all
        .iter()
        .map(|(name, addresses)| (id(name), addresses.iter().map(endpoint).collect()));
    each.collect()
}

/// Accepts connections and calls `serve` with each.
async fn backend<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let socket = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A backend that sends its name, then echoes every byte until the client closes the connection.
async fn echo(name: &'static str) -> SocketAddr {
    backend(move |mut stream| async move {
        stream.write_all(name.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// An address without a listener.
fn closed() -> SocketAddr {
    let socket = std::net::TcpListener::bind((LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap()
}

/// Reads until the connection is closed or reset.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin), length: usize) -> String {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn of_routes_for_one_server_name_that_with_the_more_specific_written_name_is_used() {
    let written = |name: &str, written: &str| {
        let mut route = route(name, &["a.example.com"], Vec::new());
        route.written_hostnames = vec![written.parse().unwrap()];
        let rule =
            StreamRule::passthrough(&route, &Live::default(), &towergate_tls::default_provider());
        (route, Arc::new(rule))
    };
    let routes = [
        written("all", "*"),
        written("wildcard", "*.example.com"),
        written("exact", "a.example.com"),
        written("younger", "a.example.com"),
    ];

    let routes = routes.iter().map(|(route, rule)| (route, rule.clone()));
    let table = StreamTable::new(crate::plan::ListenerId::default(), routes);

    let found = table.find(Some("a.example.com")).unwrap();
    assert_eq!(found.rule.route.name, "exact");
}
