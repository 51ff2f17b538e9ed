//! The Layers in tonic services. Each Layer is shown separately, then all of them are combined in one
//! service.
//!
//! ```text
//! cargo run -p towergate-core --example tonic -- client-ip
//! ```
//!
//! The parts are `proxy-protocol`, `client-ip`, `sanitize`, `redirect`, `routes`, `guard` and `all`. The
//! service is gRPC health checking. The metadata of its responses contains the results of the Layers.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{Pending, unfold};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::util::MapResponseLayer;
use tower::{ServiceExt, service_fn};
use towergate_core::Body;
use towergate_core::LocalReply;
use towergate_core::conn::ConnectionAddrs;
use towergate_core::conn::prefixed::Prefixed;
use towergate_core::conn::proxy::{ProxyAcceptor, ProxyListener};
use towergate_core::filter::{Redirect, RedirectLayer, RedirectStatus, WebScheme};
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::http::{Authority, SanitizeLayer, Sanitized};
use towergate_core::plan::Match;
use towergate_core::policy::{HeadPolicy, HeadPolicyLayer, RequestHead};
use towergate_core::route::{Query, RouteTable};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args().nth(1).ok_or("which part?")?;
    serve(&part, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(part: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let served = match part {
        "proxy-protocol" => proxy_protocol(socket).await,
        "client-ip" => client_ip(socket).await,
        "sanitize" => sanitize(socket).await,
        "redirect" => redirect(socket).await,
        "routes" => routes(socket).await,
        "guard" => guard(socket).await,
        "all" => all(socket).await,
        _ => return Err(format!("unknown part {part:?}").into()),
    };
    Ok(served?)
}

type Served = Result<(), tonic::transport::Error>;

/// Converts the body. Layers that send local replies require a body that can be created from bytes, which is
/// not possible for tonic's body.
fn body(response: http::Response<tonic::body::Body>) -> http::Response<Body> {
    response.map(Body::new)
}

/// The service is behind a load balancer that sends PROXY headers.
async fn proxy_protocol(socket: TcpListener) -> Served {
    Server::builder()
        .add_service(HealthServer::new(Healthy("one")))
        .serve_with_incoming(proxied(socket))
        .await
}

/// The service is behind a proxy that appends to `X-Forwarded-For`. tonic stores the peer address in its own
/// type, which the Layer must read.
async fn client_ip(socket: TcpListener) -> Served {
    let rule = ClientIpRule::TrustedHops {
        hops: 1,
        append: false,
    };
    let client_ip = ClientIpLayer::with_peer(rule, |extensions: &http::Extensions| {
        let peer = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
        Some(peer.ip())
    });
    Server::builder()
        .layer(client_ip)
        .layer(MapResponseLayer::new(body))
        .add_service(HealthServer::new(Healthy("one")))
        .serve_with_incoming(TcpIncoming::from(socket))
        .await
}

/// Accepts only requests with one host and one framing.
async fn sanitize(socket: TcpListener) -> Served {
    Server::builder()
        .layer(SanitizeLayer::default())
        .layer(MapResponseLayer::new(body))
        .add_service(HealthServer::new(Healthy("one")))
        .serve_with_incoming(TcpIncoming::from(socket))
        .await
}

/// Redirects browsers to the documentation of the service.
fn to_the_pages() -> RedirectLayer {
    RedirectLayer::new(Redirect {
        scheme: Some(WebScheme::Https),
        hostname: Some("docs.example.org".to_owned()),
        port: None,
        path: None,
        status: RedirectStatus::Found,
    })
    .below("/docs")
}

async fn redirect(socket: TcpListener) -> Served {
    Server::builder()
        .layer(to_the_pages())
        .layer(MapResponseLayer::new(body))
        .add_service(HealthServer::new(Healthy("one")))
        .serve_with_incoming(TcpIncoming::from(socket))
        .await
}

/// Two services with the same name. The host selects one of them. The table can also match paths, methods and
/// headers, with the precedence of Gateway API.
async fn routes(socket: TcpListener) -> Served {
    let any = Match::default();
    let table = Arc::new(RouteTable::build(["one.test", "two.test"].map(|host| {
        (
            host.parse().expect("a valid hostname"),
            &any,
            HealthServer::new(Healthy(host)),
        )
    })));
    let routed = service_fn(move |request: http::Request<axum::body::Body>| {
        let service = find(&table, &request).cloned();
        async move {
            match service {
                Some(service) => service.oneshot(request).await,
                None => Ok(Status::unimplemented("no such host").into_http()),
            }
        }
    });
    Server::builder()
        .add_routes(Routes::from(axum::Router::new().fallback_service(routed)))
        .serve_with_incoming(TcpIncoming::from(socket))
        .await
}

fn find<'t, T, B>(table: &'t RouteTable<T>, request: &http::Request<B>) -> Option<&'t T> {
    let host = Authority::of(request.uri(), request.headers()).ok()?;
    let query = Query::of(host.host(), request);
    table.find(&query, false).map(|found| found.payload)
}

/// A custom rule: calls must have a key.
async fn guard(socket: TcpListener) -> Served {
    Server::builder()
        .layer(HeadPolicyLayer::new(Keyed))
        .layer(MapResponseLayer::new(body))
        .add_service(HealthServer::new(Healthy("one")))
        .serve_with_incoming(TcpIncoming::from(socket))
        .await
}

#[derive(Debug)]
struct Keyed;

impl HeadPolicy for Keyed {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        match request.head.headers.get("x-key") {
            Some(key) if key == "sesame" => Ok(()),
            _ => Err(LocalReply::forbidden("no_key")),
        }
    }
}

/// All Layers, and a guard that needs the client address. The outermost one is first.
async fn all(socket: TcpListener) -> Served {
    let inside = "203.0.113.0/24".parse().expect("a valid network");
    Server::builder()
        .layer(SanitizeLayer::default())
        .layer(ClientIpLayer::new(ClientIpRule::Peer))
        .layer(to_the_pages())
        .layer(HeadPolicyLayer::new(Inside(inside)))
        .layer(MapResponseLayer::new(body))
        .add_service(HealthServer::new(Healthy("one")))
        .serve_with_incoming(proxied(socket))
        .await
}

#[derive(Debug)]
struct Inside(IpNet);

impl HeadPolicy for Inside {
    fn check(&self, request: &mut RequestHead<'_>) -> Result<(), LocalReply> {
        match request.facts.client {
            Some(client) if self.0.contains(&client.to_canonical()) => Ok(()),
            _ => Err(LocalReply::forbidden("ip_not_allowed")),
        }
    }
}

/// A service that is always healthy. It reports its name and the results of the Layers.
#[derive(Clone, Debug)]
struct Healthy(&'static str);

#[async_trait]
impl Health for Healthy {
    type WatchStream = Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let found = request.extensions();
        let ends: Option<&ConnectionAddrs> = found.get();
        let client: Option<&ClientIp> = found.get();
        let clean: Option<&Sanitized> = found.get();
        let told = [
            ("service", Some(self.0.to_owned())),
            ("peer", ends.map(|ends| ends.peer.to_string())),
            ("client", client.map(|client| client.0.to_string())),
            ("host", clean.map(|clean| clean.authority.host().to_owned())),
        ];
        let mut response = Response::new(HealthCheckResponse { status: 1 });
        for (name, text) in told {
            if let Some(value) = text.and_then(|text| text.parse().ok()) {
                response.metadata_mut().insert(name, value);
            }
        }
        Ok(response)
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only checks"))
    }
}

/// Accepts connections with a PROXY header.
fn proxied(socket: TcpListener) -> impl Stream<Item = io::Result<Proxied>> {
    let balancers = vec!["127.0.0.0/8".parse().expect("a valid network")];
    let listener = ProxyListener::new(socket, ProxyAcceptor::required(balancers));
    unfold(listener, async |mut listener| {
        let (stream, ends) = listener.accept().await;
        Some((Ok(Proxied { stream, ends }), listener))
    })
}

/// A connection with the addresses that tonic adds to the extensions of its requests.
struct Proxied {
    stream: Prefixed<TcpStream>,
    ends: ConnectionAddrs,
}

impl Connected for Proxied {
    type ConnectInfo = ConnectionAddrs;

    fn connect_info(&self) -> ConnectionAddrs {
        self.ends
    }
}

impl AsyncRead for Proxied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Proxied {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
