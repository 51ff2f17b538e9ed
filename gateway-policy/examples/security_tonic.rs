//! SecurityPolicies of Envoy Gateway as a Layer of a tonic service. Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example security_tonic -- api-key
//! ```
//!
//! The argument is `basic-auth`, `api-key`, `jwt` or `authorization`; `cors` and `csrf` are for browsers. A
//! rejected call has the status `UNAUTHENTICATED` or `PERMISSION_DENIED`.

use std::error::Error;
use std::net::IpAddr;

use http::{Extensions, Request};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic_health::server::health_reporter;
use tower::util::MapRequestLayer;
use towergate_core::Body;
use towergate_core::http::client_ip::{ClientIpLayer, ClientIpRule};

#[allow(dead_code, reason = "a gRPC service has no greeting")]
mod security;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let section = std::env::args()
        .nth(1)
        .ok_or("missing argument: a section")?;
    serve(&section, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(section: &str, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let (_reporter, health) = health_reporter();
    Server::builder()
        .layer(ClientIpLayer::with_peer(ClientIpRule::Peer, peer))
        .layer(security::layer(section)?)
        .layer(MapRequestLayer::new(body))
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

/// Converts the body, because a tonic service accepts only requests with tonic's body type.
fn body(request: Request<Body>) -> Request<tonic::body::Body> {
    request.map(tonic::body::Body::new)
}
