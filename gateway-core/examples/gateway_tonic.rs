//! A gateway inside a tonic server. The server responds to health checks. All other gRPC calls are proxied to
//! another server.
//!
//! ```text
//! cargo run -p towergate-core --example gateway_tonic -- 127.0.0.1:9000
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic_health::server::health_reporter;
use towergate_core::conn::ConnInfo;
use towergate_core::gateway::{Gateway, Options};
use towergate_core::plan::{
    Backend, BackendId, BackendProtocol, Destination, Endpoints, GrpcMethodMatch, PathMatch, Plan,
    Route, Rule, TextMatch, WeightedBackend,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let users = std::env::args().nth(1).ok_or("where are the users?")?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    serve_on(listener, users.parse()?).await
}

pub(crate) async fn serve_on(
    listener: TcpListener,
    users: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    let gateway = Gateway::new(Options::default());
    let id = BackendId::service("shop", "users", 80);
    let route = users_route(&id);
    gateway.set_endpoints(&Endpoints::from([(id, vec![users.into()])]));
    gateway.apply(&Plan::http("shop", "edge", 80, vec![route]))?;

    let layer = gateway.layer(80).with_connection(|extensions| {
        let peer = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
        Some(ConnInfo::from(peer).into())
    });
    let (_, health) = health_reporter();
    Server::builder()
        .layer(layer)
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener))
        .await?;
    Ok(())
}

/// A route for all methods of `shop.Users`, over HTTP/2.
fn users_route(id: &BackendId) -> Route {
    let service = GrpcMethodMatch {
        service: Some(TextMatch::Exact("shop.Users".to_owned())),
        method: None,
    };
    let backend = Backend {
        id: id.clone(),
        protocol: BackendProtocol::Http2,
        tls: None,
        hosts: Vec::new(),
        fallback: false,
        dynamic: None,
    };
    let mut rule = Rule::new(PathMatch::Grpc(service));
    rule.backends.push(WeightedBackend {
        weight: 1,
        filters: Vec::new(),
        destination: Destination::Backend(Arc::new(backend)),
    });
    Route::new("shop", "users", vec![rule])
}
