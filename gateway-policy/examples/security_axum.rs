//! SecurityPolicies of Envoy Gateway as a Layer of an axum service. Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example security_axum -- basic-auth
//! curl -u alice:wonderland http://127.0.0.1:3000/
//! ```
//!
//! The argument is `basic-auth`, `api-key`, `jwt`, `authorization`, `cors` or `csrf`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http::{Extensions, HeaderMap};
use tokio::net::TcpListener;
use towergate_core::http::client_ip::{ClientIpLayer, ClientIpRule};

mod security;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let section = std::env::args()
        .nth(1)
        .ok_or("missing argument: a section")?;
    serve(&section, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(section: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/", get(hello).post(hello))
        .layer(security::layer(section)?)
        .layer(ClientIpLayer::with_peer(ClientIpRule::Peer, peer));
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(socket, service).await?)
}

/// The IP address of the peer. axum stores it in an extension type of its own.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

async fn hello(headers: HeaderMap) -> String {
    security::greeting(&headers)
}
