//! An axum service with the parts of the gateway around it: the client behind a load balancer with
//! PROXY headers and a proxy that writes `X-Forwarded-For`, clean requests, a redirect, and an
//! allow-list.
//!
//! ```text
//! cargo run -p towergate-core --example axum
//! curl --haproxy-protocol -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:3000/
//! ```

use std::error::Error;
use std::io;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Extension, Request};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use axum::{Router, ServiceExt};
use http::request::Parts;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer;
use towergate_core::conn::prefixed::Prefixed;
use towergate_core::conn::proxy::{Ends, ProxyAcceptor, ProxyListener};
use towergate_core::filter::{Redirect, RedirectLayer};
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::http::{SanitizeLayer, Sanitized};
use towergate_core::policy::{Guard, GuardLayer, Rejection, ResponseEdits};

/// A rule of our own: which clients may pass.
#[derive(Debug)]
struct Allowed(Vec<IpNet>);

impl Guard for Allowed {
    fn check(&self, head: &mut Parts) -> Result<ResponseEdits, Rejection> {
        match head.extensions.get::<ClientIp>() {
            Some(client) if self.0.iter().any(|net| net.contains(&client.0)) => Ok(Vec::new()),
            _ => Err(Rejection::forbidden("ip_not_allowed")),
        }
    }
}

/// Lets axum accept from a [`ProxyListener`].
struct Proxied(ProxyListener);

impl Listener for Proxied {
    type Io = Prefixed<TcpStream>;
    type Addr = Ends;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<Ends> {
        let local = self.0.local_addr()?;
        Ok(Ends::of_tcp(local, local))
    }
}

/// Both ends of the connection, for axum's `ConnectInfo`.
#[derive(Clone, Copy)]
struct Client(Ends);

impl Connected<IncomingStream<'_, Proxied>> for Client {
    fn connect_info(stream: IncomingStream<'_, Proxied>) -> Self {
        Self(*stream.remote_addr())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let balancers = vec!["127.0.0.0/8".parse()?];
    let listener = Proxied(ProxyListener::new(
        socket,
        ProxyAcceptor::required(balancers),
    ));
    let rule = ClientIpRule::TrustedHops {
        hops: 1,
        append: false,
    };
    let client_ip = ClientIpLayer::with_peer(rule, |extensions: &http::Extensions| {
        let ConnectInfo(Client(ends)) = extensions.get()?;
        Some(ends.peer.ip())
    });
    let moved = Redirect {
        scheme: None,
        hostname: Some("new.example.org".to_owned()),
        port: None,
        path: None,
        status: 302,
    };
    let parts = (
        SanitizeLayer::default(),
        client_ip,
        RedirectLayer::new(moved).below("/old"),
        GuardLayer::new(Allowed(vec!["203.0.113.0/24".parse()?])),
    );
    let app = parts.layer(Router::new().route("/", get(answer)));
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<Client>(app);
    Ok(axum::serve(listener, service).await?)
}

async fn answer(
    Extension(ClientIp(client)): Extension<ClientIp>,
    Extension(clean): Extension<Sanitized>,
) -> String {
    format!("{} welcomes {client}\n", clean.authority.host())
}
