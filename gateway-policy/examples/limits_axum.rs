//! A local rate limit, and policies of Envoy Gateway, as Layers of an axum service. Needs no gateway and
//! no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example limits_axum -- policies
//! for i in 1 2 3; do curl -i -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:3000/; done
//! ```
//!
//! The argument is `rate-limit` or `policies`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use axum::routing::get;
use http::Extensions;
use tokio::net::TcpListener;
use tower::Layer;
use towergate_core::http::SanitizeLayer;
use towergate_core::http::client_ip::{ClientIp, ClientIpLayer, ClientIpRule};
use towergate_core::policy::HeadPolicyLayer;

mod limits;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args()
        .nth(1)
        .ok_or("missing argument: rate-limit or policies")?;
    serve(&part, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(part: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = match part {
        "rate-limit" => rate_limit(),
        "policies" => policies()?,
        _ => return Err(format!("unknown example {part:?}; use rate-limit or policies").into()),
    };
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(socket, service).await?)
}

/// A local rate limit. The client address is that of the peer.
fn rate_limit() -> Router {
    Router::new()
        .route("/", get(hello))
        .layer(HeadPolicyLayer::new(limits::from_values().limiter()))
        .layer(ClientIpLayer::with_peer(ClientIpRule::Peer, peer))
}

/// The settings of a ClientTrafficPolicy and a BackendTrafficPolicy.
fn policies() -> Result<Router, Box<dyn Error>> {
    let (settings, limit) = limits::from_specs()?;
    let parts = (
        ClientIpLayer::with_peer(settings.client_ip.clone(), peer),
        SanitizeLayer::new(settings),
        HeadPolicyLayer::new(limit.limiter()),
    );
    let app = Router::new().route("/", get(hello));
    Ok(Router::new().fallback_service(parts.layer(app)))
}

/// The IP address of the peer. axum stores it in an extension type of its own.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

async fn hello(Extension(ClientIp(client)): Extension<ClientIp>) -> String {
    format!("hello, {client}\n")
}
