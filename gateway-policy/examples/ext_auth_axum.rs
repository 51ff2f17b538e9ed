//! External authorization as a Layer of an axum service: a service at a fixed address decides on each request.
//! Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example ext_auth_axum -- 127.0.0.1:4180
//! curl -i -H 'Authorization: Bearer good' http://127.0.0.1:3000/
//! ```
//!
//! The argument is the address of a forward-auth service, such as oauth2-proxy. Status 200 allows a
//! request; the response field `x-user` names the user.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use http::HeaderMap;
use tokio::net::TcpListener;

mod ext_auth;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = std::env::args().nth(1).ok_or("missing argument: address")?;
    serve(service.parse()?, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(service: SocketAddr, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/", get(hello).post(length))
        .layer(ext_auth::layer(service));
    Ok(axum::serve(socket, app).await?)
}

async fn hello(headers: HeaderMap) -> String {
    ext_auth::greeting(&headers)
}

async fn length(body: String) -> String {
    body.len().to_string()
}
