//! Tests over real sockets: a gateway between UDP clients and backends.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::gateway::{ApplyError, Gateway, Options};
use crate::plan::{Breaker, DatagramPort, Destination, Endpoints, ListenerId, Plan, StreamRoute};
use crate::policy::NoPolicy;
use crate::stream::tests::{
    Rig, endpoints, eventually, id, route, simple, soon, to, weighted, with_traffic,
};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const IDLE: Duration = Duration::from_secs(60);

fn port(ip: IpAddr, port: u16, routes: Vec<StreamRoute>) -> DatagramPort {
    DatagramPort {
        addresses: vec![ip],
        port,
        id: ListenerId::default(),
        idle_timeout: IDLE,
        routes: routes.into_iter().map(Arc::new).collect(),
    }
}

fn plan_of(datagrams: Vec<DatagramPort>) -> Plan {
    Plan {
        datagrams,
        ..Plan::default()
    }
}

fn plan(routes: Vec<StreamRoute>) -> Plan {
    plan_of(vec![port(LOCALHOST, 0, routes)])
}

impl Rig {
    fn udp(&self) -> SocketAddr {
        *self.gateway.listening_datagrams().first().unwrap()
    }

    /// Creates a client of the gateway's first UDP socket.
    async fn client(&self) -> Client {
        Client::of(self.udp()).await
    }
}

/// A client with a connected socket. It receives replies only from the address to which it sends.
struct Client(UdpSocket);

impl Client {
    async fn of(address: SocketAddr) -> Self {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => LOCALHOST,
            SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        };
        let socket = UdpSocket::bind((any, 0)).await.unwrap();
        socket.connect(address).await.unwrap();
        Self(socket)
    }

    async fn send(&self, text: &str) {
        self.0.send(text.as_bytes()).await.unwrap();
    }

    async fn receive(&self) -> String {
        let mut bytes = vec![0; 65_536];
        let length = soon(self.0.recv(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    async fn ask(&self, text: &str) -> String {
        self.send(text).await;
        self.receive().await
    }
}

/// Backend that echoes each datagram, prefixed by its name and the source port.
async fn echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        loop {
            let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes[..length]);
            let answer = format!("{name} {} {text}", from.port());
            let _ = socket.send_to(answer.as_bytes(), from).await;
        }
    });
    address
}

/// Splits a reply into name of the backend, port of the session, and text.
fn parts(answer: &str) -> (&str, &str, &str) {
    let (name, rest) = answer.split_once(' ').unwrap();
    let (port, text) = rest.split_once(' ').unwrap();
    (name, port, text)
}

#[tokio::test]
async fn each_client_has_its_own_session_and_replies() {
    let backend = echo("a").await;
    let rig = Rig::new(&plan(vec![simple("a")]), &endpoints(&[("a", &[backend])]));
    let (one, two) = (rig.client().await, rig.client().await);

    one.send("1").await;
    two.send("2").await;
    let (of_one, of_two) = (one.receive().await, two.receive().await);
    let (again_one, again_two) = (one.ask("3").await, two.ask("4").await);

    assert_eq!((parts(&of_one).2, parts(&of_two).2), ("1", "2"));
    assert_ne!(parts(&of_one).1, parts(&of_two).1);
    assert_eq!(parts(&of_one).1, parts(&again_one).1);
    assert_eq!(parts(&of_two).1, parts(&again_two).1);
    assert_eq!(rig.log.count("SessionOpened"), 2);
    assert_eq!(
        one.ask("").await.len(),
        of_one.len() - 1,
        "empty datagrams are forwarded"
    );
}

#[tokio::test]
async fn the_largest_datagram_is_forwarded_in_both_directions() {
    const LARGEST: usize = 65_507;
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let backend = socket.local_addr().unwrap();
    let rig = Rig::new(&plan(vec![simple("a")]), &endpoints(&[("a", &[backend])]));
    let client = rig.client().await;
    let large = "x".repeat(LARGEST);

    client.send(&large).await;
    let mut bytes = vec![0; LARGEST + 1];
    let (length, from) = soon(socket.recv_from(&mut bytes)).await.unwrap();
    assert_eq!(length, LARGEST);
    socket.send_to(&bytes[..length], from).await.unwrap();

    assert!(client.receive().await == large);
}

#[tokio::test]
async fn replies_come_from_the_address_that_the_client_sent_to() {
    let backend = echo("a").await;
    let all = endpoints(&[("a", &[backend])]);
    let any: [(IpAddr, IpAddr); 2] = [
        ("0.0.0.0".parse().unwrap(), "127.0.0.77".parse().unwrap()),
        ("::".parse().unwrap(), "::1".parse().unwrap()),
    ];
    for (bound, asked) in any {
        let rig = Rig::new(&plan_of(vec![port(bound, 0, vec![simple("a")])]), &all);
        let number = rig.udp().port();

        // A connected socket receives datagrams only from the address to which it is connected.
        let client = Client::of(SocketAddr::new(asked, number)).await;
        assert_eq!(parts(&client.ask("x").await).2, "x", "{asked}");
        rig.gateway.apply(&Plan::<NoPolicy>::default()).unwrap();

        let entry = rig.log.entry().await;
        assert_eq!(entry.downstream_local, SocketAddr::new(asked, number));
        assert_eq!(entry.client_port, client.0.local_addr().unwrap().port());
    }
}

#[tokio::test]
async fn a_client_has_a_session_for_each_local_address() {
    let backend = echo("a").await;
    let any = "0.0.0.0".parse().unwrap();
    let plan = plan_of(vec![port(any, 0, vec![simple("a")])]);
    let rig = Rig::new(&plan, &endpoints(&[("a", &[backend])]));
    let client = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();

    for last in [5, 6] {
        let asked = SocketAddr::from(([127, 0, 0, last], rig.udp().port()));
        client.send_to(b"x", asked).await.unwrap();
        let mut bytes = [0; 99];
        let (_, from) = soon(client.recv_from(&mut bytes)).await.unwrap();
        assert_eq!(from, asked);
    }
}

#[tokio::test]
async fn sessions_are_distributed_by_weight_and_those_of_an_invalid_backend_are_dropped() {
    let all = [
        ("a", echo("a").await),
        ("b", echo("b").await),
        ("c", echo("c").await),
    ];
    let route = route(
        "r",
        &["*"],
        vec![
            weighted(3, to("a")),
            weighted(1, to("b")),
            weighted(0, to("c")),
            weighted(4, Destination::Invalid),
        ],
    );
    let all = all
        .each_ref()
        .map(|(name, at)| (*name, std::slice::from_ref(at)));
    let rig = Rig::new(&plan(vec![route]), &endpoints(&all));

    let (mut counts, n) = (BTreeMap::new(), 400);
    let mut answered = 0;
    // All clients remain open. Otherwise the system could reuse the port of a client whose session still
    // exists.
    let mut clients = Vec::new();
    for sent in 1..=n {
        let client = rig.client().await;
        client.send("x").await;
        let dropped = || rig.log.count("invalid_backend");
        eventually(|| rig.log.count("SessionOpened") + dropped() == sent).await;
        if rig.log.count("SessionOpened") > answered {
            answered += 1;
            let answer = client.receive().await;
            *counts.entry(parts(&answer).0.to_owned()).or_insert(0usize) += 1;
        }
        clients.push(client);
    }

    // The expected counts are 3/8, 1/8 and 4/8 of 400. The tolerance is five standard deviations: 49, 34 and
    // 50.
    assert!(counts["a"].abs_diff(150) <= 49, "{counts:?}");
    assert!(counts["b"].abs_diff(50) <= 34, "{counts:?}");
    assert!(answered.abs_diff(200) <= 50, "{answered}");
    assert!(!counts.contains_key("c"));
}

#[tokio::test]
async fn an_idle_session_ends_and_the_next_datagram_begins_a_new_one() {
    let backend = echo("a").await;
    let mut plan = plan(vec![simple("a")]);
    plan.datagrams[0].idle_timeout = Duration::from_millis(100);
    let rig = Rig::new(&plan, &endpoints(&[("a", &[backend])]));
    let client = rig.client().await;

    let before = client.ask("x").await;
    let entry = rig.log.entry().await;
    let after = client.ask("x").await;

    assert_eq!((&*entry.details, entry.bytes_received), ("idle_timeout", 1));
    assert_eq!(entry.bytes_sent, before.len() as u64);
    assert_eq!(entry.upstream_host, Some(backend.into()));
    assert_eq!(entry.rule.unwrap().route.name, "a");
    assert!(entry.duration >= Duration::from_millis(100));
    assert_ne!(parts(&before).1, parts(&after).1);
}

#[tokio::test]
async fn at_the_limit_the_least_recently_used_session_is_evicted() {
    let backend = echo("a").await;
    let route = with_traffic(simple("a"), |traffic| {
        traffic.breaker = Breaker {
            connections: 2,
            ..Breaker::default()
        };
    });
    let rig = Rig::new(&plan(vec![route]), &endpoints(&[("a", &[backend])]));
    let [one, two, three] = [rig.client().await, rig.client().await, rig.client().await];

    let session_of_one = one.ask("x").await;
    let session_of_two = two.ask("x").await;
    let same = one.ask("x").await;
    three.ask("x").await;

    assert_eq!(session_of_one, same);
    let entry = rig.log.entry().await;
    assert_eq!(&*entry.details, "evicted");
    assert_eq!(entry.client_port, two.0.local_addr().unwrap().port());
    assert_ne!(parts(&two.ask("x").await).1, parts(&session_of_two).1);
    assert_eq!(rig.log.count("SessionClosed"), 2);
}

#[tokio::test]
async fn a_limit_of_zero_drops_all_datagrams() {
    let backend = echo("a").await;
    let route = with_traffic(simple("a"), |traffic| traffic.breaker.connections = 0);
    let rig = Rig::new(&plan(vec![route]), &endpoints(&[("a", &[backend])]));

    rig.client().await.send("x").await;

    eventually(|| rig.log.count("DatagramDropped") == 1).await;
    assert_eq!(rig.log.count("Overflowed"), 1);
    assert_eq!(rig.log.count("SessionOpened"), 0);
}

#[tokio::test]
async fn datagrams_without_a_route_or_endpoint_are_dropped_and_counted() {
    let cases = [
        (plan(Vec::new()), "no_route"),
        (plan(vec![simple("empty")]), "no_endpoint"),
    ];
    for (plan, word) in cases {
        let rig = Rig::new(&plan, &endpoints(&[]));
        rig.client().await.send("x").await;

        eventually(|| rig.log.count(word) == 1).await;
    }
}

#[tokio::test]
async fn sessions_survive_a_route_change_and_new_ones_use_the_new_route() {
    let (old, new) = (echo("old").await, echo("new").await);
    let all = endpoints(&[("old", &[old]), ("new", &[new])]);
    let rig = Rig::new(&plan(vec![simple("old"), simple("new")]), &all);
    let address = rig.udp();
    let before = rig.client().await;
    let first = before.ask("x").await;
    assert_eq!(parts(&first).0, "old", "the oldest route takes precedence");

    rig.gateway.apply(&plan(vec![simple("new")])).unwrap();

    assert_eq!(rig.udp(), address);
    assert_eq!(before.ask("x").await, first);
    assert_eq!(parts(&rig.client().await.ask("x").await).0, "new");
    rig.gateway.set_endpoints(&endpoints(&[("new", &[new])]));
    assert_eq!(
        parts(&before.ask("x").await).0,
        "new",
        "its endpoint was removed"
    );
    let port = before.0.local_addr().unwrap().port();
    assert_eq!(&*rig.log.entry_of(port).await.details, "upstream_gone");
}

#[tokio::test]
async fn an_endpoint_that_rejects_datagrams_is_replaced() {
    let dead = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let refusing = dead.local_addr().unwrap();
    drop(dead);
    let live = echo("live").await;
    let all = Endpoints::from([(id("a"), vec![refusing.into(), live.into()])]);
    let rig = Rig::new(&plan(vec![simple("a")]), &all);

    for _ in 0..10 {
        let client = rig.client().await;
        let mut answer = [0; 99];
        // The client repeats its datagram, because the endpoint is replaced only after the ICMP error has
        // arrived.
        let asking = async {
            loop {
                client.send("x").await;
                let wait = Duration::from_millis(20);
                if let Ok(Ok(length)) = tokio::time::timeout(wait, client.0.recv(&mut answer)).await
                {
                    return length;
                }
            }
        };
        assert!(soon(asking).await > 0);
    }
}

#[tokio::test]
async fn sockets_follow_the_plan_and_an_address_in_use_leaves_them_unchanged() {
    let backend = echo("a").await;
    let rig = Rig::new(&plan(vec![simple("a")]), &endpoints(&[("a", &[backend])]));
    let kept = rig.udp();
    let client = rig.client().await;
    let session = client.ask("x").await;
    let other: IpAddr = "127.0.0.9".parse().unwrap();
    let taken = std::net::UdpSocket::bind((other, 0)).unwrap();
    let number = taken.local_addr().unwrap().port();
    let both = || {
        let more = port(other, number, vec![simple("a")]);
        plan_of(vec![port(LOCALHOST, 0, vec![simple("a")]), more])
    };

    let error = rig.gateway.apply(&both()).unwrap_err();
    assert!(matches!(&error, ApplyError::Listen(errors) if errors[0].address.port() == number));
    assert_eq!(rig.gateway.listening_datagrams().len(), 1);
    drop(taken);
    rig.gateway.apply(&both()).unwrap();

    let second = Client::of((other, number).into()).await;
    assert_eq!(parts(&second.ask("x").await).0, "a");
    assert_eq!(client.ask("x").await, session);
    rig.gateway.apply(&plan(vec![simple("a")])).unwrap();
    assert_eq!(rig.gateway.listening_datagrams(), [kept].into());
    assert_eq!(client.ask("x").await, session);
    let closed = || std::net::UdpSocket::bind((other, number)).is_ok();
    eventually(closed).await;
}

#[tokio::test]
async fn workers_share_the_clients_of_an_address() {
    let backend = echo("a").await;
    let gateway = Gateway::new(Options::default());
    gateway.start(3).unwrap();
    gateway.set_endpoints(&endpoints(&[("a", &[backend])]));
    gateway.apply(&plan(vec![simple("a")])).unwrap();
    let address = *gateway.listening_datagrams().first().unwrap();

    for _ in 0..30 {
        let client = Client::of(address).await;
        let first = client.ask("x").await;
        assert_eq!(client.ask("x").await, first, "one session on one worker");
    }
}
