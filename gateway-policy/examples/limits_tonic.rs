//! A local rate limit, and policies of Envoy Gateway, as Layers of a tonic service. Needs no gateway and
//! no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example limits_tonic -- policies
//! ```
//!
//! The argument is `rate-limit` or `policies`.

use std::error::Error;
use std::net::IpAddr;

use http::{Extensions, Response};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic_health::server::health_reporter;
use tower::util::MapResponseLayer;
use towergate_core::Body;
use towergate_core::http::SanitizeLayer;
use towergate_core::http::client_ip::{ClientIpLayer, ClientIpRule};
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
    match part {
        "rate-limit" => rate_limit(socket).await,
        "policies" => policies(socket).await,
        _ => Err(format!("unknown example {part:?}; use rate-limit or policies").into()),
    }
}

/// A local rate limit. The client address is that of the peer.
async fn rate_limit(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let (_reporter, health) = health_reporter();
    Server::builder()
        .layer(ClientIpLayer::with_peer(ClientIpRule::Peer, peer))
        .layer(HeadPolicyLayer::new(limits::from_values().limiter()))
        .layer(MapResponseLayer::new(body))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(socket))
        .await?;
    Ok(())
}

/// The settings of a ClientTrafficPolicy and a BackendTrafficPolicy.
async fn policies(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let (settings, limit) = limits::from_specs()?;
    let (_reporter, health) = health_reporter();
    Server::builder()
        .layer(ClientIpLayer::with_peer(settings.client_ip.clone(), peer))
        .layer(SanitizeLayer::new(settings))
        .layer(HeadPolicyLayer::new(limit.limiter()))
        .layer(MapResponseLayer::new(body))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(socket))
        .await?;
    Ok(())
}

/// The IP address of the peer. tonic stores it in an extension type of its own.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
    Some(peer.ip())
}

/// Converts the body, because Layers that send local replies need a body type that can be built from bytes.
fn body(response: Response<tonic::body::Body>) -> Response<Body> {
    response.map(Body::new)
}
