//! External authorization as a Layer of a tonic service: a service at a fixed address decides on each request.
//! Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example ext_auth_tonic -- 127.0.0.1:4180
//! ```
//!
//! The argument is the address of a forward-auth service, such as oauth2-proxy. Status 200 allows a request;
//! the response field `x-user` names the user. A denied call has the status `UNAUTHENTICATED` or
//! `PERMISSION_DENIED`.

use std::error::Error;
use std::net::SocketAddr;

use http::Request;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::health_reporter;
use tower::util::MapRequestLayer;
use towergate_core::Body;

#[allow(dead_code, reason = "a gRPC service has no greeting")]
mod ext_auth;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = std::env::args().nth(1).ok_or("missing argument: address")?;
    serve(service.parse()?, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(service: SocketAddr, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let (_reporter, health) = health_reporter();
    Server::builder()
        .layer(ext_auth::layer(service))
        .layer(MapRequestLayer::new(body))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(socket))
        .await?;
    Ok(())
}

/// Converts the body, because a tonic service accepts only requests with tonic's body type.
fn body(request: Request<Body>) -> Request<tonic::body::Body> {
    request.map(tonic::body::Body::new)
}
