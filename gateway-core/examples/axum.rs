//! The Layers in axum services. Each Layer is shown separately, then all of them are combined in one service.
//!
//! ```text
//! cargo run -p towergate-core --example axum -- client-ip
//! curl -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:3000/
//! ```
//!
//! The parts are `proxy-protocol`, `client-ip`, `sanitize`, `redirect`, `routes`, `guard` and `all`.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Extension, Request};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use axum::{Router, ServiceExt};
use http::{Extensions, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer;
use towergate_core::LocalReply;
use towergate_core::conn::ConnectionAddrs;
use towergate_core::conn::prefixed::Prefixed;
use towergate_core::conn::proxy::{ProxyAcceptor, ProxyListener};
use towergate_core::filter::{PathEdit, Redirect, RedirectLayer, RedirectStatus, WebScheme};
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::http::{Authority, SanitizeLayer, Sanitized};
use towergate_core::plan::{Match, PathMatch};
use towergate_core::policy::{HeadPolicy, HeadPolicyLayer, RequestHead};
use towergate_core::route::{Query, RouteTable};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args().nth(1).ok_or("which part?")?;
    serve(&part, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(part: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = match part {
        "proxy-protocol" => return proxy_protocol(socket).await,
        "client-ip" => client_ip(),
        "sanitize" => sanitize(),
        "redirect" => redirect(),
        "routes" => routes()?,
        "guard" => guard(),
        "all" => return all(socket).await,
        _ => return Err(format!("unknown part {part:?}").into()),
    };
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(socket, service).await?)
}

/// The service is behind a load balancer that sends PROXY headers.
async fn proxy_protocol(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = Router::new().route("/", get(who));
    let service = app.into_make_service_with_connect_info::<Client>();
    Ok(axum::serve(Proxied::new(socket)?, service).await?)
}

async fn who(ConnectInfo(Client(ends)): ConnectInfo<Client>) -> String {
    format!("you are {}, by way of {}\n", ends.peer, ends.tcp_peer)
}

/// The service is behind a proxy that appends to `X-Forwarded-For`. axum stores the peer address in its own
/// type, which the Layer must read.
fn client_ip() -> Router {
    let rule = ClientIpRule::TrustedHops {
        hops: 1,
        append: false,
    };
    let layer = ClientIpLayer::with_peer(rule, |extensions: &Extensions| {
        let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(peer.ip())
    });
    let answer =
        async |Extension(ClientIp(client)): Extension<ClientIp>| format!("you are {client}\n");
    Router::new().route("/", get(answer)).layer(layer)
}

/// Accepts only requests with one host, one framing and one spelling of the path. The Layer is outside axum's
/// routing, so that routes match the sanitized path.
fn sanitize() -> Router {
    let answer = async |Extension(clean): Extension<Sanitized>| {
        format!("you asked {}\n", clean.authority.host())
    };
    let app = Router::new().route("/hello", get(answer));
    Router::new().fallback_service(SanitizeLayer::default().layer(app))
}

/// Redirects everything below `/old`.
fn redirect() -> Router {
    let moved = Redirect {
        scheme: Some(WebScheme::Https),
        hostname: Some("new.example.org".to_owned()),
        port: None,
        path: Some(PathEdit::Prefix("/archive".to_owned())),
        status: RedirectStatus::PermanentRedirect,
    };
    Router::new()
        .fallback(async || "not moved\n")
        .layer(RedirectLayer::new(moved).below("/old"))
}

/// Routes requests by host, path, method and headers, with the precedence of Gateway API.
fn routes() -> Result<Router, Box<dyn Error>> {
    let api = Match {
        path: PathMatch::Prefix("/api".to_owned()),
        ..Match::default()
    };
    let app = |text: &'static str| Router::new().fallback(async move || text);
    let table = Arc::new(RouteTable::build([
        ("*.example.com".parse()?, &Match::default(), app("pages\n")),
        ("*.example.com".parse()?, &api, app("api\n")),
    ]));
    let routed = service_fn(move |request: Request| {
        let app = find(&table, &request).cloned();
        async move {
            match app {
                Some(app) => app.oneshot(request).await,
                None => Ok(StatusCode::NOT_FOUND.into_response()),
            }
        }
    });
    Ok(Router::new().fallback_service(routed))
}

fn find<'t, T>(table: &'t RouteTable<T>, request: &Request) -> Option<&'t T> {
    let host = Authority::of(request.uri(), request.headers()).ok()?;
    let query = Query::of(host.host(), request);
    table.find(&query, false).map(|found| found.payload)
}

/// A custom rule.
fn guard() -> Router {
    Router::new()
        .fallback(async || "hello\n")
        .layer(HeadPolicyLayer::new(ReadOnly))
}

#[derive(Debug)]
struct ReadOnly;

impl HeadPolicy for ReadOnly {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        if request.head.method.is_safe() {
            Ok(())
        } else {
            Err(LocalReply::new(StatusCode::METHOD_NOT_ALLOWED, "read_only"))
        }
    }
}

/// All Layers. The outermost one is first.
async fn all(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let client_ip = ClientIpLayer::with_peer(ClientIpRule::Peer, |extensions: &Extensions| {
        let ConnectInfo(Client(ends)) = extensions.get()?;
        Some(ends.peer.ip())
    });
    let moved = Redirect {
        scheme: None,
        hostname: Some("new.example.org".to_owned()),
        port: None,
        path: None,
        status: RedirectStatus::Found,
    };
    let parts = (
        SanitizeLayer::default(),
        client_ip,
        RedirectLayer::new(moved).below("/old"),
        HeadPolicyLayer::new(ReadOnly),
    );
    let app = parts.layer(Router::new().route("/", get(welcome)));
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<Client>(app);
    Ok(axum::serve(Proxied::new(socket)?, service).await?)
}

async fn welcome(
    Extension(ClientIp(client)): Extension<ClientIp>,
    Extension(clean): Extension<Sanitized>,
) -> String {
    format!("{} welcomes {client}\n", clean.authority.host())
}

/// Allows axum to accept connections from a [`ProxyListener`].
struct Proxied(ProxyListener);

impl Proxied {
    fn new(socket: TcpListener) -> Result<Self, Box<dyn Error>> {
        let balancers = vec!["127.0.0.0/8".parse()?];
        let acceptor = ProxyAcceptor::required(balancers);
        Ok(Self(ProxyListener::new(socket, acceptor)))
    }
}

impl Listener for Proxied {
    type Io = Prefixed<TcpStream>;
    type Addr = ConnectionAddrs;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<ConnectionAddrs> {
        let local = self.0.local_addr()?;
        Ok(ConnectionAddrs::of_tcp(local, local))
    }
}

/// The addresses of the connection, in the type that axum's `ConnectInfo` requires.
#[derive(Clone, Copy)]
struct Client(ConnectionAddrs);

impl Connected<IncomingStream<'_, Proxied>> for Client {
    fn connect_info(stream: IncomingStream<'_, Proxied>) -> Self {
        Self(*stream.remote_addr())
    }
}
