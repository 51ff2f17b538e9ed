//! A local rate limit, and policies as users of Envoy Gateway write them, around tonic services. No
//! gateway, no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example limits_tonic -- policies
//! ```
//!
//! The parts are `rate-limit` and `policies`.

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
use towergate_core::policy::GuardLayer;

mod limits;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let part = std::env::args().nth(1).ok_or("which part?")?;
    serve(&part, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(part: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    match part {
        "rate-limit" => rate_limit(socket).await,
        "policies" => policies(socket).await,
        _ => Err(format!("there is no part {part:?}").into()),
    }
}

/// One rule of the gateway. It asks for the client, which is the peer here.
async fn rate_limit(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let (_reporter, health) = health_reporter();
    Server::builder()
        .layer(ClientIpLayer::with_peer(ClientIpRule::Peer, peer))
        .layer(GuardLayer::new(limits::by_hand().limiter()))
        .layer(MapResponseLayer::new(body))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(socket))
        .await?;
    Ok(())
}

/// All that two policies say.
async fn policies(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let (settings, limit) = limits::as_written()?;
    let (_reporter, health) = health_reporter();
    Server::builder()
        .layer(ClientIpLayer::with_peer(settings.client_ip.clone(), peer))
        .layer(SanitizeLayer::new(settings))
        .layer(GuardLayer::new(limit.limiter()))
        .layer(MapResponseLayer::new(body))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(socket))
        .await?;
    Ok(())
}

/// tonic keeps the peer in a type of its own.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
    Some(peer.ip())
}

/// The parts that answer by themselves need a body that can be made of bytes; tonic's cannot.
fn body(response: Response<tonic::body::Body>) -> Response<Body> {
    response.map(Body::new)
}
