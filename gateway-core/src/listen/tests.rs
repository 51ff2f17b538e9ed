//! Tests of sockets and workers with real connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;

use super::*;
use crate::conn::Drain;
use crate::plan::TcpSettings;
use crate::serve::tests::{Client, GET, SOON, TestHandler, listener_config, soon};

/// A different address for each test, so that tests do not use the same ports.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    IpAddr::from([127, 77, 0, NEXT.fetch_add(1, Ordering::Relaxed)])
}

fn config(port: u16, listener: &Arc<ListenerConfig>) -> Arc<ArcSwap<PortConfig>> {
    Arc::new(ArcSwap::from_pointee(PortConfig {
        slot: 0,
        port,
        tcp: TcpSettings::default(),
        protocol: PortProtocol::Plain(listener.clone()),
    }))
}

fn wanted(ip: IpAddr, port: u16) -> WantedPort {
    (vec![ip], config(port, &listener_config(|_| {})))
}

/// An unused port of `ip`.
fn free_port(ip: IpAddr) -> u16 {
    let socket = std::net::TcpListener::bind((ip, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

fn workers() -> (Workers, Listeners) {
    let server = |_| Server {
        handler: TestHandler,
        stream_log: Arc::new(()),
        observer: Arc::new(()),
    };
    let workers = Workers::start(2, server, Drain::new()).unwrap();
    let listeners = Listeners::new(&workers);
    (workers, listeners)
}

async fn connect(ip: IpAddr, port: u16) -> Client {
    Client(soon(TcpStream::connect((ip, port))).await.unwrap())
}

async fn is_served(client: &mut Client) -> bool {
    client.send(GET).await;
    client.response().await.0.starts_with("http/1.1 200")
}

#[tokio::test]
async fn all_workers_serve_every_port_until_they_are_stopped() {
    let ip = own_address();
    let (workers, mut listeners) = workers();
    listeners.reconcile(&[wanted(ip, 0)]).unwrap();
    let port = listeners.addresses().first().unwrap().port();

    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = connect(ip, port).await;
        assert!(is_served(&mut client).await);
        clients.push(client);
    }
    workers.drain().start();
    let drained = workers
        .drain()
        .drained(tokio::time::Instant::now() + SOON)
        .await;
    drop(listeners);
    tokio::task::spawn_blocking(|| workers.stop())
        .await
        .unwrap();

    assert!(drained);
    for mut client in clients {
        assert_eq!(client.rest().await, "");
    }
    assert!(TcpStream::connect((ip, port)).await.is_err());
}

#[tokio::test]
async fn an_unchanged_port_keeps_its_connections_and_a_removed_one_drains() {
    let ip = own_address();
    let (_workers, mut listeners) = workers();
    let (a, b) = (wanted(ip, free_port(ip)), wanted(ip, free_port(ip)));
    let (port_a, port_b) = (a.1.load().port, b.1.load().port);
    listeners.reconcile(&[a.clone(), b]).unwrap();
    let (mut on_a, mut on_b) = (connect(ip, port_a).await, connect(ip, port_b).await);
    assert!(is_served(&mut on_a).await && is_served(&mut on_b).await);

    listeners
        .reconcile(&[a, wanted(ip, free_port(ip))])
        .unwrap();

    assert_eq!(on_b.rest().await, "");
    assert!(is_served(&mut on_a).await);
    assert!(is_served(&mut connect(ip, port_a).await).await);
    assert_eq!(listeners.addresses().len(), 2);
}

#[tokio::test]
async fn a_bind_failure_leaves_all_sockets_unchanged_and_reports_the_address() {
    let ip = own_address();
    let (_workers, mut listeners) = workers();
    let old = wanted(ip, free_port(ip));
    let old_port = old.1.load().port;
    listeners.reconcile(&[old]).unwrap();
    let foreign = std::net::TcpListener::bind((ip, 0)).unwrap();
    let taken = foreign.local_addr().unwrap();
    let before = listeners.addresses();

    let errors = listeners
        .reconcile(&[wanted(ip, taken.port()), wanted(ip, free_port(ip))])
        .unwrap_err();

    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].address, taken);
    assert_eq!(listeners.addresses(), before);
    assert!(is_served(&mut connect(ip, old_port).await).await);
}

#[tokio::test]
async fn new_settings_apply_from_the_next_connection_on() {
    let ip = own_address();
    let (_workers, mut listeners) = workers();
    let port = free_port(ip);
    let first = config(port, &listener_config(|_| {}));
    listeners.reconcile(&[(vec![ip], first.clone())]).unwrap();
    let mut old = connect(ip, port).await;
    assert!(is_served(&mut old).await);
    let closed = listener_config(|s| s.limits.connections = Some(0));

    first.store(config(port, &closed).load_full());
    let refused = connect(ip, port).await.rest().await;
    listeners.reconcile(&[wanted(ip, port)]).unwrap();
    let mut new = connect(ip, port).await;

    assert_eq!(refused, "");
    assert!(is_served(&mut old).await);
    assert!(
        is_served(&mut new).await,
        "the port has a new configuration cell"
    );
    assert_eq!(closed.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_duplicate_address_is_bound_once() {
    let ip = own_address();
    let (_workers, mut listeners) = workers();
    let port = free_port(ip);

    listeners
        .reconcile(&[wanted(ip, port), wanted(ip, port)])
        .unwrap();

    assert_eq!(listeners.addresses().len(), 1);
    assert!(is_served(&mut connect(ip, port).await).await);
}

#[tokio::test]
async fn the_drain_waits_for_connections_that_no_task_serves_yet() {
    let ip = own_address();
    let socket = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = Server {
        handler: TestHandler,
        stream_log: Arc::new(()),
        observer: Arc::new(()),
    };
    let config = config(address.port(), &listener_config(|_| {}));
    let drain = Drain::new();
    // The task does not run before the drain starts, so it has accepted no connection by then.
    tokio::spawn(serve_listener(socket, config, server, drain.clone()));
    let mut queued = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut queued, GET.as_bytes()).unwrap();

    drain.start();
    let deadline = tokio::time::Instant::now() + SOON;
    let drained = tokio::spawn({
        let drain = drain.clone();
        async move { drain.drained(deadline).await }
    });
    tokio::task::yield_now().await;
    assert!(!drained.is_finished());
    queued.set_nonblocking(true).unwrap();
    let mut client = Client(TcpStream::from_std(queued).unwrap());

    let (head, _) = client.response().await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(client.rest().await, "");
    assert!(drained.await.unwrap());
}
