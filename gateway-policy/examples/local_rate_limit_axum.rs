//! A local rate limit in front of an axum service: five requests a minute for each client address.
//!
//! ```text
//! cargo run -p towergate-policy --example local_rate_limit_axum
//! for i in 1 2 3 4 5 6; do curl -i http://127.0.0.1:3000/; done
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use towergate_core::http::client_ip::ClientIp;
use towergate_core::policy::GuardLayer;
use towergate_policy::rate_limit::{Limit, LimitRule, LocalRateLimit, Selector, SourceRule};

/// The limit: one bucket for each client.
fn limit() -> LocalRateLimit {
    let everybody = Selector {
        source: Some(SourceRule {
            network: "0.0.0.0/0".parse().expect("this is a network"),
            distinct: true,
            invert: false,
        }),
        ..Selector::default()
    };
    LocalRateLimit {
        headers: true,
        rules: vec![LimitRule {
            selectors: vec![everybody],
            limit: Limit::new(5, Duration::from_secs(60)),
        }],
        ..LocalRateLimit::default()
    }
}

/// Tells the limit who the client is: here the peer of the connection.
async fn client_is_the_peer(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(ClientIp(peer.ip()));
    next.run(request).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(socket: TcpListener) -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(GuardLayer::new(limit().limiter()))
        .layer(from_fn(client_is_the_peer));
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(socket, service).await
}
