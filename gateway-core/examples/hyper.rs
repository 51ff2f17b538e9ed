//! The Layers in hyper services. Each Layer is shown separately, then all of them are combined in one
//! service.
//!
//! ```text
//! cargo run -p towergate-core --example hyper -- proxy-protocol
//! curl --haproxy-protocol http://127.0.0.1:3000/
//! ```
//!
//! The parts are `proxy-protocol`, `client-ip`, `sanitize`, `redirect`, `routes`, `guard` and `all`.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tower::util::BoxCloneService;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use towergate_core::LocalReply;
use towergate_core::conn::proxy::{ProxyAcceptor, ProxyListener};
use towergate_core::conn::{ConnectionAddrs, ConnectionAddrsLayer};
use towergate_core::filter::{PathEdit, Redirect, RedirectLayer, RedirectStatus, WebScheme};
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::http::{Authority, SanitizeLayer, Sanitized};
use towergate_core::plan::{Match, PathMatch};
use towergate_core::policy::{HeadPolicy, HeadPolicyLayer, RequestHead};
use towergate_core::route::{Query, RouteTable};

/// A service for hyper whose type is erased.
type App = BoxCloneService<Request<Incoming>, Response<Full<Bytes>>, Infallible>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args().nth(1).ok_or("which part?")?;
    serve(&part, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(part: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = match part {
        "proxy-protocol" => return proxied(socket, service_fn(answer).boxed_clone()).await,
        "client-ip" => client_ip(),
        "sanitize" => SanitizeLayer::default()
            .layer(service_fn(answer))
            .boxed_clone(),
        "redirect" => redirect(),
        "routes" => routes()?,
        "guard" => HeadPolicyLayer::new(ReadOnly)
            .layer(service_fn(answer))
            .boxed_clone(),
        "all" => return proxied(socket, all()?).await,
        _ => return Err(format!("unknown part {part:?}").into()),
    };
    loop {
        let (stream, peer) = socket.accept().await?;
        let ends = ConnectionAddrs::of_tcp(peer, stream.local_addr()?);
        spawn(stream, ends, app.clone());
    }
}

/// The service is behind a load balancer that sends PROXY headers.
async fn proxied(socket: TcpListener, app: App) -> Result<(), Box<dyn Error>> {
    let balancers = vec!["127.0.0.0/8".parse()?];
    let mut listener = ProxyListener::new(socket, ProxyAcceptor::required(balancers));
    loop {
        let (stream, ends) = listener.accept().await;
        spawn(stream, ends, app.clone());
    }
}

/// Serves a connection. hyper does not add the addresses of a connection to its requests, so
/// `ConnectionAddrsLayer` does.
fn spawn<Io>(stream: Io, ends: ConnectionAddrs, app: App)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(ConnectionAddrsLayer(ends).layer(app));
    tokio::spawn(async move {
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            eprintln!("{}: {error}", ends.peer);
        }
    });
}

/// Responds with the results of the Layers.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = String::new();
    if let Some(ConnectionAddrs { peer, tcp_peer, .. }) = request.extensions().get() {
        text += &format!("peer {peer} by way of {}\n", tcp_peer.ip());
    }
    if let Some(ClientIp(client)) = request.extensions().get() {
        text += &format!("client {client}\n");
    }
    if let Some(Sanitized { authority, .. }) = request.extensions().get() {
        text += &format!("{} of {}\n", request.uri().path(), authority.host());
    }
    Ok(Response::new(text.into()))
}

/// The service is behind a proxy that appends to `X-Forwarded-For`.
fn client_ip() -> App {
    let rule = ClientIpRule::TrustedHops {
        hops: 1,
        append: false,
    };
    ClientIpLayer::new(rule)
        .layer(service_fn(answer))
        .boxed_clone()
}

/// Redirects everything below `/old`.
fn redirect() -> App {
    let moved = Redirect {
        scheme: Some(WebScheme::Https),
        hostname: Some("new.example.org".to_owned()),
        port: None,
        path: Some(PathEdit::Prefix("/archive".to_owned())),
        status: RedirectStatus::PermanentRedirect,
    };
    let layer = RedirectLayer::new(moved).below("/old");
    layer.layer(service_fn(answer)).boxed_clone()
}

/// Routes requests by host, path, method and headers, with the precedence of Gateway API. An entry can
/// contain any value; here it contains a name.
fn routes() -> Result<App, Box<dyn Error>> {
    let api = Match {
        path: PathMatch::Prefix("/api".to_owned()),
        ..Match::default()
    };
    let table = Arc::new(RouteTable::build([
        ("*.example.com".parse()?, &Match::default(), "pages\n"),
        ("*.example.com".parse()?, &api, "api\n"),
    ]));
    let routed = service_fn(move |request: Request<Incoming>| {
        let mut response = Response::new(Full::default());
        match find(&table, &request) {
            Some(name) => *response.body_mut() = Full::from(*name),
            None => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        async { Ok(response) }
    });
    Ok(routed.boxed_clone())
}

fn find<'t, T>(table: &'t RouteTable<T>, request: &Request<Incoming>) -> Option<&'t T> {
    let host = Authority::of(request.uri(), request.headers()).ok()?;
    let query = Query::of(host.host(), request);
    table.find(&query, false).map(|found| found.payload)
}

/// A custom rule.
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
fn all() -> Result<App, Box<dyn Error>> {
    let moved = Redirect {
        scheme: None,
        hostname: Some("new.example.org".to_owned()),
        port: None,
        path: None,
        status: RedirectStatus::Found,
    };
    let parts = (
        SanitizeLayer::default(),
        ClientIpLayer::new(ClientIpRule::Peer),
        RedirectLayer::new(moved).below("/old"),
        HeadPolicyLayer::new(ReadOnly),
    );
    Ok(parts.layer(routes()?).boxed_clone())
}
