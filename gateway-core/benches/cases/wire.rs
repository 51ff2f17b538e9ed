//! Requests and connections through the whole gateway, over loopback sockets. Client, gateway and backend
//! share one thread, so that runs are repeatable. The measurement includes the cost of client and backend,
//! which is small.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use towergate_core::conn::Drain;
use towergate_core::gateway::{Gateway, Options};
use towergate_core::listen::{ListenerConfig, PortConfig, PortProtocol, Server, serve_listener};
use towergate_core::plan::{
    BackendId, Endpoints, PathMatch, Plan, ProxyProtocol, Route, Rule, TcpSettings,
};

use super::{Step, proxy_v2};

const REQUEST: &[u8] = b"GET /shop/items?page=2 HTTP/1.1\r\nHost: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: shop\r\n\
    Content-Length: 12\r\n\r\nhello, world";
const END: &[u8] = b"hello, world";

/// A request on an existing connection.
pub(super) fn request() -> Step {
    let (runtime, gateway) = start(None);
    let mut client = runtime
        .block_on(TcpStream::connect(gateway))
        .expect("the gateway accepts connections");
    Box::new(move || runtime.block_on(ask(&mut client, REQUEST)))
}

/// A connection with a PROXY header: it is opened, carries one request, and is closed.
pub(super) fn connection() -> Step {
    let (runtime, gateway) = start(Some(ProxyProtocol::default()));
    let request = [&proxy_v2(&[]), REQUEST].concat();
    Box::new(move || {
        runtime.block_on(async {
            let mut client = TcpStream::connect(gateway)
                .await
                .expect("the gateway accepts connections");
            ask(&mut client, &request).await;
            client.shutdown().await.expect("the gateway is running");
            let rest = client.read(&mut [0; 16]).await;
            assert_eq!(rest.expect("the gateway closes the connection"), 0);
        });
    })
}

async fn ask(client: &mut TcpStream, request: &[u8]) {
    client.write_all(request).await.expect("the bytes are sent");
    let mut answer = [0; 1024];
    let mut len = 0;
    while !answer[..len].ends_with(END) {
        let read = client.read(&mut answer[len..]).await;
        len += read.expect("a response");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
}

/// Starts a gateway in front of a backend. Returns the runtime and the address of the gateway.
fn start(proxy_protocol: Option<ProxyProtocol>) -> (Runtime, SocketAddr) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let address = runtime.block_on(async {
        let (listener, address) = listen().await;
        let (backend, backend_address) = listen().await;
        tokio::spawn(be_backend(backend));
        let port = PortConfig {
            slot: 0,
            port: 80,
            tcp: TcpSettings {
                proxy_protocol,
                ..TcpSettings::default()
            },
            protocol: PortProtocol::Plain(Arc::new(ListenerConfig {
                id: Default::default(),
                settings: Default::default(),
                tls: None,
                clients: None,
                connections: Default::default(),
                streams: None,
            })),
        };
        let port = Arc::new(ArcSwap::from_pointee(port));
        let server = Server {
            handler: gateway(backend_address).router(),
            stream_log: Arc::new(()),
            observer: Arc::new(()),
        };
        tokio::spawn(serve_listener(listener, port, server, Drain::new()));
        address
    });
    (runtime, address)
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    (listener, address)
}

fn gateway(backend: SocketAddr) -> Gateway {
    let gateway = Gateway::new(Options::default());
    let id = BackendId::service("shop", "web", 80);
    let rule = Rule::new(PathMatch::Prefix("/".to_owned())).to(&id);
    let route = Route::new("shop", "all", vec![rule]);
    gateway.set_endpoints(&Endpoints::from([(id, vec![backend.into()])]));
    let plan: Plan = Plan::http("shop", "edge", 80, vec![route]);
    gateway.apply(&plan).expect("a valid plan");
    gateway
}

/// Serves the same response to every request.
async fn be_backend(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = [0; 1024];
            let mut len = 0;
            while let Ok(read) = stream.read(&mut head[len..]).await
                && read > 0
            {
                len += read;
                if head[..len].ends_with(b"\r\n\r\n") {
                    len = 0;
                    stream
                        .write_all(RESPONSE)
                        .await
                        .expect("the bytes are sent");
                }
            }
        });
    }
}
